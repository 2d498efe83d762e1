"""What the commands for a cluster share: the options by which its API is found, and who is asked about pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_cluster import Cluster

Host = Annotated[str, typer.Option(help="Kubeflow Pipelines' API [default: KF_PIPELINES_ENDPOINT]")]
Namespace = Annotated[str, typer.Option(help="the runs' namespace, where Kubeflow has several users")]
TokenFile = Annotated[str, typer.Option(help="a file with a bearer token [default: KF_PIPELINES_SA_TOKEN_PATH]")]
Header = Annotated[list[str] | None, typer.Option(help="a request header: name=value, name=@FILE or name=env:VARIABLE")]


def connect(
    settings: Settings, host: str = "", namespace: str = "", token_file: str = "", header: list[str] | None = None
) -> Kubeflow:
    """The API, as the options and the environment name it.

    Raises:
        ProjectError: none is named, or an option is wrong.
    """
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_auth import find_access

    return Kubeflow(
        find_access(settings.kubeflow, host=host, namespace=namespace, token_file=token_file, headers=header or ())
    )


def pods(kubeflow: Kubeflow) -> Cluster | None:
    """The cluster's own API, where there is one to ask."""
    from trimtab.pipelines.kubeflow_cluster import Cluster

    found = Cluster(kubeflow.access.namespace)
    return found if found.there else None


def shared_store(settings: Settings) -> Store:
    """The store, which pods must reach, too.

    Raises:
        ProjectError: it is a folder of this machine.
    """
    from trimtab.core.errors import ProjectError
    from trimtab.core.store import open_store, probe

    if not settings.store.startswith("s3://"):
        raise ProjectError(
            "pods do not see a store that is a folder",
            object="TRIMTAB_STORE",
            expected="s3://bucket/prefix",
            got=settings.store,
            hint="set TRIMTAB_STORE, AWS_ENDPOINT_URL and credentials to the S3 that the cluster uses",
        )
    store = open_store(settings.store, settings)
    probe(store, "submit")
    return store

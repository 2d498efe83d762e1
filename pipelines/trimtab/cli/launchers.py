"""What starts a campaign's retrains: processes of this machine, or runs on a Kubeflow cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from trimtab.core.launch import Launcher
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store

KINDS = ("local", "kubeflow")


def make_launcher(kind: str, runs_in: str, store: Store, settings: Settings) -> Launcher:
    """The launcher of that kind.

    Args:
        kind: `local` or `kubeflow`.
        runs_in: the runs' namespace on a cluster; by default the settings'.
        store: the store.
        settings: where Kubeflow's API is, and the stages' image.

    Raises:
        ProjectError: there is no such kind, or no API is named.
    """
    if kind == "local":
        from trimtab.pipelines.launcher import LocalLauncher

        return LocalLauncher(store, settings)
    if kind != "kubeflow":
        raise ProjectError("option --launcher", expected=" or ".join(KINDS), got=kind)
    from trimtab.cli.kubeflow import connect, pods
    from trimtab.pipelines.kubeflow_launcher import KubeflowLauncher

    kubeflow = connect(settings, namespace=runs_in)
    return KubeflowLauncher(
        kubeflow,
        store,
        image=settings.stage_image,
        experiment=settings.kubeflow.experiment,
        s3_ca=settings.s3.ca_config_map,
        cluster=pods(kubeflow),
    )

"""What a submission brings to the cluster: local rows as a dataset in the store, the compiled pipeline as a version."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RunRefused
from trimtab.pipelines.kubeflow_models import MADE_BY

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.store import Store
    from trimtab.pipelines import compile_check
    from trimtab.pipelines.kubeflow_api import Kubeflow

IMAGE_HINT = (
    "`make images REGISTRY=… [WHEELS=…]` builds the stages' image, pushes it and prints it by digest; give that by "
    "--image or TRIMTAB_STAGE_IMAGE"
)


@dataclass(frozen=True)
class Package:
    """A compiled pipeline, checked, as a version to be.

    Attributes:
        pipeline: the pipeline's name.
        version: its name, made from the content: the same content is the same version.
        body: the YAML, both documents.
        content: the same, read.
        image: the stages' image.
    """

    pipeline: str
    version: str
    body: bytes = field(repr=False)
    content: compile_check.Package = field(repr=False)
    image: str


@dataclass(frozen=True)
class Uploaded:
    """A version that the backend has, and what its runs need.

    Attributes:
        pipeline_id, version_id, version: the backend's ids, and the version's name.
        service_account: that its runs should have; empty for the installation's default.
        run_seconds: how long a run may take; 0 without limit.
    """

    pipeline_id: str
    version_id: str
    version: str
    service_account: str = ""
    run_seconds: float = 0.0


def package_of(project: Project, *, image: str, store_url: str, s3_ca: str = "", code_version: str = "") -> Package:
    """Compile a project and check both documents, since a broken one keeps a backend busy for ever or fails late.

    Args:
        project: the project file.
        image: the stages' image, pinned.
        store_url: the store that the stages use.
        s3_ca: the ConfigMap with its CA; see `compile_project`.
        code_version: version of the code in that image; empty: of this installation.

    Raises:
        RunRefused: no image is named.
        ProjectError: the image is not pinned, or a document would not run.
    """
    from trimtab.pipelines.compile import compile_project
    from trimtab.pipelines.compile_check import check_package

    if not image:
        raise RunRefused("there is no image for the stages", object=project.name, hint=IMAGE_HINT)
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        path = Path(folder) / f"{project.name}.yaml"
        compile_project(project, path, image=image, store=store_url, s3_ca=s3_ca, code_version=code_version)
        checked = check_package(path)
        body = path.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:12]
    return Package(project.name, f"{project.name}-{digest}", body, checked, image)


def uncached(package: Package) -> dict[str, Any]:
    """A package as a run's own spec, with the backend's cache off in every task, also in pipelines inside.

    The backend's key for a task's result is made of image, command, arguments and inputs, so nothing but this makes it
    repeat one. It is kfp.Client's `enable_caching=False`, which reaches the outermost tasks alone.

    Returns:
        `V2beta1Run.pipeline_spec`: both documents.
    """
    ir = copy.deepcopy(package.content.ir)
    for component in (ir["root"], *ir["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    return {"pipeline_spec": ir, "platform_spec": package.content.platform}


def upload(kubeflow: Kubeflow, package: Package, description: str = "") -> Uploaded:
    """Make a package a version of its pipeline; the same content is uploaded once.

    Raises:
        KubeflowError: the backend did not take it.
    """
    tags = {**MADE_BY, "image": package.image.rpartition("@")[2][:63]}
    ids = kubeflow.ensure_version(package.pipeline, package.version, package.body, description, tags)
    return Uploaded(*ids, package.version, package.content.service_account, package.content.run_timeout)


def portable_source(project: Project, store: Store, source: Any = None) -> Any:
    """A source that pods can read: local tables go into the store as datasets, the rest stays as it is.

    Args:
        project: whose fields say how the rows are typed.
        store: where to.
        source: any form of a source; by default the project file's.

    Returns:
        The same source, with `{"dataset": "<name>/<digest>"}` in place of each path.

    Raises:
        ProjectError: it is no source.
        DataError: a file is missing, or its rows are not what was declared.
    """
    from trimtab.core.errors import ProjectError
    from trimtab.core.sources import normalise

    try:
        parts = normalise(project.data.source if source is None else source)
    except ValueError as error:
        raise ProjectError("the data source is wrong", object="data.source", got=str(error)) from None
    return [{"dataset": _put(project, store, part)} if "path" in part else part for part in parts]


def _put(project: Project, store: Store, part: dict[str, Any]) -> str:
    """Local rows as a dataset of the store; its name."""
    from trimtab.core.sources import resolve
    from trimtab.ingest.stage import IngestConfig, ingest

    fixed = resolve([part], store, project.base)
    config = IngestConfig.model_validate({"name": project.name, "source": fixed.source, "schema": project.schema()})
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        made = ingest(config, store, Path(folder) / "data", Path(folder) / "judge")
    return f"{project.name}/{made.digest}"

"""Compiling a project into the YAML that a Kubeflow cluster takes: the graph, and what only a cluster heeds.

The file has two documents: KFP's IR, and `platforms.kubernetes` with field paths, secrets and time limits. A tool
that reads one of them loses the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError
from trimtab.core.kubeflow import UNSET_IMAGE
from trimtab.pipelines.steps import Step

if TYPE_CHECKING:
    from trimtab.core.project import Project

# What the stages find on a cluster: secrets of the pipeline's namespace, made by whoever runs it.
S3_SECRET = "trimtab-s3"  # noqa: S105 - the name of a secret
S3_KEYS = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
}
SIGNING_SECRET = "trimtab-signing"  # noqa: S105 - the name of a secret
SIGNING_FOLDER = "/etc/trimtab/signing"
RUN_ID_FIELD = "metadata.labels['pipeline/runid']"


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: its file, name, image, and what is still to be done before a cluster can run it."""

    path: Path
    name: str
    image: str
    store: str
    remarks: tuple[str, ...]


def compile_project(project: Project, out: Path, *, image: str = "", store: str = "") -> Compiled:
    """Compile a project.

    Args:
        project: the project file.
        out: the YAML file to write.
        image: the stages' image, pinned by digest; empty leaves a placeholder that no cluster can pull.
        store: URL of the store that the stages use, `s3://bucket/prefix`.

    Raises:
        ProjectError: the image is not pinned, or the file cannot be written.
    """
    from kfp import compiler

    from trimtab.pipelines.training import build
    from trimtab.pipelines.versions import code_version

    if image and "@sha256:" not in image:
        raise ProjectError(
            "the stages' image is not pinned",
            object=image,
            expected="name@sha256:<digest>, since Kubeflow's cache keys on the name",
            hint="docker inspect --format '{{index .RepoDigests 0}}' IMAGE shows it",
        )
    remarks = []
    if not image:
        remarks.append(f"no image was named, so {UNSET_IMAGE} stands in its place: give --image or TRIMTAB_STAGE_IMAGE")
    if not store.startswith("s3://"):
        remarks.append("the store is a folder, which pods do not see: give --store s3://bucket/prefix")
    graph = build(
        project,
        image=image,
        code_version=code_version(),
        finish=lambda task, step: _for_cluster(project, task, step, store),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        compiler.Compiler().compile(graph, str(out))
    except ValueError as error:
        raise ProjectError(
            "the compiled pipeline's file", expected="a name that ends in .yaml", got=str(error)
        ) from None
    return Compiled(out, project.name, image or UNSET_IMAGE, store, tuple(remarks))


def _for_cluster(project: Project, task: Any, step: Step, store: str) -> None:
    from kfp import kubernetes

    limits = project.resources.of(step.stage)
    if limits.cpu:
        cpu = f"{limits.cpu:g}" if limits.cpu >= 1 else f"{round(limits.cpu * 1000)}m"
        task.set_cpu_request(cpu).set_cpu_limit(cpu)
    if limits.memory:
        memory = limits.memory.replace("k", "K")
        task.set_memory_request(memory).set_memory_limit(memory)
    if limits.accelerator:
        task.set_accelerator_type(limits.accelerator).set_accelerator_limit(limits.accelerators or 1)
    if limits.minutes:
        kubernetes.set_timeout(task, round(limits.minutes * 60))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        task.set_env_variable(name, str(project.resources.threads))
    if store:
        task.set_env_variable("TRIMTAB_STORE", store)
    kubernetes.use_field_path_as_env(task, "TRIMTAB_RUN_ID", RUN_ID_FIELD)
    kubernetes.use_secret_as_env(task, S3_SECRET, S3_KEYS)
    if step.stage == "publish":
        kubernetes.use_secret_as_volume(task, SIGNING_SECRET, SIGNING_FOLDER)
        task.set_env_variable("TRIMTAB_SIGNING_KEY", f"{SIGNING_FOLDER}/signing.pem")

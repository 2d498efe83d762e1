"""Compiling a project into the YAML that a Kubeflow cluster takes: the graph, and what only a cluster heeds.

The file has two documents: KFP's IR, and `platforms.kubernetes` with field paths, secrets, places and time limits. A
tool that reads one of them loses the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core.errors import ProjectError
from trimtab.core.kubeflow import UNSET_IMAGE
from trimtab.pipelines.tasks import RUN_ID_FIELD, S3_KEYS, S3_SECRET, SIGNING_FOLDER, SIGNING_SECRET, for_cluster

if TYPE_CHECKING:
    from trimtab.core.project import Project

__all__ = [
    "PINNED",
    "RUN_ID_FIELD",
    "S3_KEYS",
    "S3_SECRET",
    "SIGNING_FOLDER",
    "SIGNING_SECRET",
    "Compiled",
    "compile_project",
    "pinned",
]

# By digest; or, where there is no registry to give one, by a tag that ends in the image's own id.
PINNED = re.compile(r"[^\s@]+(@sha256:[0-9a-f]{64}|:([A-Za-z0-9_][A-Za-z0-9_.-]*)?-[0-9a-f]{12,64})")


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: its file, name, image, and what is still to be done before a cluster can run it."""

    path: Path
    name: str
    image: str
    store: str
    remarks: tuple[str, ...]


def pinned(image: str) -> str:
    """The image, if its name can mean one image only.

    Raises:
        ProjectError: it names a moving tag, or none.

    >>> pinned("stages:0.3-0123456789ab")
    'stages:0.3-0123456789ab'
    """
    if not PINNED.fullmatch(image):
        raise ProjectError(
            "the stages' image is not pinned",
            object=image,
            expected="name@sha256:<64 hex>, or a tag that ends in -<12 or more hex of the image's id>: "
            "Kubeflow's cache keys on the name",
            hint="make images REGISTRY=… builds and pushes one, and prints it by digest",
        )
    return image


def compile_project(
    project: Project, out: Path, *, image: str = "", store: str = "", s3_ca: str = "", code_version: str = ""
) -> Compiled:
    """Compile a project.

    Args:
        project: the project file.
        out: the YAML file to write.
        image: the stages' image, pinned by digest; empty leaves a placeholder that no cluster can pull.
        store: URL of the store that the stages use, `s3://bucket/prefix`.
        s3_ca: ConfigMap, in the namespace of the runs, whose key `ca.crt` holds the CA of that S3's certificate.
        code_version: version of the code in that image; empty: of this installation.

    Raises:
        ProjectError: the image is not pinned, no bucket can be called as the store's, no ConfigMap as the CA's, a
            parameter is too large, or the file cannot be written.
    """
    from kfp import compiler

    from trimtab.core.store.s3 import place_of
    from trimtab.pipelines import versions
    from trimtab.pipelines.compile_check import read_package
    from trimtab.pipelines.training import build

    remarks = []
    if image:
        pinned(image)
    else:
        remarks.append(f"no image was named, so {UNSET_IMAGE} stands in its place: give --image or TRIMTAB_STAGE_IMAGE")
    if "://" in store and not store.startswith("file://"):
        place_of(store, "the store")
    else:
        remarks.append("the store is a folder, which pods do not see: give --store s3://bucket/prefix")
    if s3_ca and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", s3_ca):
        raise ProjectError("TRIMTAB_S3_CA_CONFIG_MAP", expected="a ConfigMap's name, in lower case", got=repr(s3_ca))
    graph = build(
        project,
        image=image,
        code_version=code_version or versions.code_version(),
        finish=lambda task, step: for_cluster(project, task, step, store, s3_ca),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(graph, str(out))
    except OSError as error:
        raise ProjectError(
            "the compiled pipeline cannot be written", object=str(out), got=error.strerror or str(error)
        ) from None
    except ValueError as error:
        raise ProjectError(
            "the compiled pipeline's file", expected="a name that ends in .yaml", got=str(error)
        ) from None
    read_package(out).sizes()
    return Compiled(out, project.name, image or UNSET_IMAGE, store, tuple(remarks))

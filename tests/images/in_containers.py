"""Run a project's whole training pipeline by KFP's DockerRunner, each stage in a hardened container of its own.

`python -m tests.images.in_containers KEY IMAGE FOLDER`: a process of its own, since KFP's local runner is one a
process. The folder holds the store with the run's request, and the signing key, at the same path inside and outside.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

# As in a pod of Pod Security `restricted`, with a root file system that cannot be written either: KFP's wrapper needs
# a writable /tmp and nothing else.
HARDENED: dict[str, Any] = {
    "network_mode": "none",
    "read_only": True,
    "tmpfs": {"/tmp": "size=512m"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "2g",
    "pids_limit": 512,
}
RUN_ID = "containers-1"


def environment(folder: Path) -> dict[str, str]:
    """What the pipeline's tasks are told by their environment, as `compile` sets it for pods."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return threads | {
        "TRIMTAB_STORE": (folder / "store").as_uri(),
        "TRIMTAB_SIGNING_KEY": str(folder / "signing.pem"),
        "TRIMTAB_RUN_ID": RUN_ID,
    }


def main(key: str, image: str, folder: Path) -> None:
    """Run it; the artifacts tell how it went, since the runner calls a container that dies at once a success."""
    import docker
    from kfp import local

    from trimtab.core import runs
    from trimtab.core.project import Project
    from trimtab.core.records import canonical
    from trimtab.core.store import open_store
    from trimtab.pipelines.training import build

    warnings.simplefilter("ignore")  # the local runner's remarks on settings that only a cluster heeds
    request = runs.read_request(open_store((folder / "store").as_uri()), key)
    graph = build(Project.from_canonical(request.project), image=image, code_version=request.code_version)
    whole = docker.types.Mount(str(folder), str(folder), type="bind")
    runner = local.DockerRunner(environment=environment(folder), mounts=[whole], **HARDENED)
    # A folder outside the mount above: KFP mounts it by itself.
    local.init(runner=runner, pipeline_root=str(folder.with_name(f"{folder.name}-artifacts")))
    graph(data=canonical(request.data).decode(), key=key)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

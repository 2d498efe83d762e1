"""Images without a registry: a docker-archive tar of one layer, made of files, for `ctr images import`."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write(
    target: Path,
    name: str,
    files: Mapping[str, Path],
    entrypoint: Sequence[str],
    user: str = "65532:65532",
    folders: Sequence[str] = ("tmp",),
) -> Path:
    """Write an image of static programs.

    Args:
        target: the tar to write.
        name: of the image, with a tag.
        files: what the image holds: path in it to file here; all are executable.
        entrypoint: the command.
        user: numeric user and group.
        folders: empty folders that everyone may write to.

    Returns:
        The tar.
    """
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        for path, file in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = file.stat().st_size, 0o755
            with file.open("rb") as content:
                tar.addfile(entry, content)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "User": user, "Entrypoint": list(entrypoint), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "tests"}],
    }
    body = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(body).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(target, "w") as tar:
        tar.add(layer, f"{digest}.tar")
        for path, written in ((config_name, body), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(written)
            tar.addfile(entry, io.BytesIO(written))
    layer.unlink()
    return target


def names(archive: Path) -> list[str]:
    """The names of the images in a docker-archive."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None, f"{archive} is no docker-archive"
        return [name for image in json.load(manifest) for name in image["RepoTags"] or []]

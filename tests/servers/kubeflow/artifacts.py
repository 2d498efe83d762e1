"""Artifacts between tasks: KFP's launcher downloads a task's inputs and uploads its outputs; this does the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.core.store import Store


class Objects:
    """Artifacts in a store, under the path of their URI: `minio://mlpipeline/v2/…` lies at `mlpipeline/v2/…`.

    Args:
        store: an object store of any kind.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @staticmethod
    def key(uri: str) -> str:
        """The key of a URI."""
        return uri.partition("://")[2] or uri

    def put(self, uri: str, body: bytes) -> None:
        """Keep a small text."""
        self._store.put(self.key(uri), body)

    def upload(self, path: Path, uri: str) -> None:
        """Keep a file or a folder; nothing where the task left nothing."""
        if path.is_dir():
            for file in sorted(f for f in path.rglob("*") if f.is_file()):
                self._store.upload(file, f"{self.key(uri)}/{file.relative_to(path)}")
        elif path.is_file():
            self._store.upload(path, self.key(uri))

    def download(self, uri: str, path: Path) -> None:
        """Fetch a file or a folder; nothing where there is none."""
        key = self.key(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        below = list(self._store.list(f"{key}/"))
        for name in below:
            target = path / name.removeprefix(f"{key}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._store.download(name, target)
        if not below and self._store.exists(key):
            self._store.download(key, path)


@dataclass(frozen=True)
class Local:
    """A task's files on this machine.

    Attributes:
        executor_input: the ExecutorInput with local paths.
        inputs: (remote URI, local path) to fetch before.
        outputs: (local path, remote URI) to keep after.
        parameters: files of output parameters.
        output_file: where the executor leaves its output.
    """

    executor_input: dict[str, Any]
    inputs: list[tuple[str, Path]]
    outputs: list[tuple[Path, str]]
    parameters: dict[str, Path]
    output_file: Path


def localised(executor_input: Mapping[str, Any], folder: Path) -> Local:
    """The same input with paths below a folder in place of URIs."""
    mine = copy.deepcopy(dict(executor_input))
    inputs: list[tuple[str, Path]] = []
    for group in (mine["inputs"].get("artifacts") or {}).values():
        for artifact in group["artifacts"]:
            path = folder / "in" / Objects.key(artifact["uri"])
            inputs.append((artifact["uri"], path))
            artifact["uri"] = str(path)
    outputs: list[tuple[Path, str]] = []
    for group in (mine["outputs"].get("artifacts") or {}).values():
        for artifact in group["artifacts"]:
            path = folder / "out" / Objects.key(artifact["uri"])
            path.parent.mkdir(parents=True, exist_ok=True)
            outputs.append((path, artifact["uri"]))
            artifact["uri"] = str(path)
    parameters: dict[str, Path] = {}
    for name, entry in (mine["outputs"].get("parameters") or {}).items():
        path = folder / "parameters" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        entry["outputFile"] = str(path)
        parameters[name] = path
    output_file = folder / "executor_output.json"
    mine["outputs"]["outputFile"] = str(output_file)
    return Local(mine, inputs, outputs, parameters, output_file)

"""Which code a run runs: part of its key, and of the cache's."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from importlib.metadata import version
from pathlib import Path

from trimtab.core.errors import ProjectError

# What cannot change what a stage computes.
_NOT_STAGES = frozenset({"cli", "pipelines", "serving", "client", "monitoring"})


@functools.cache
def code_version() -> str:
    """The distribution's version and 8 hex over the sources of core and stages.

    An installation that is edited in place changes its code without changing its version.
    """
    import trimtab

    digest = hashlib.sha256()
    files: dict[str, Path] = {}
    for portion in map(Path, trimtab.__path__):
        for path in portion.rglob("*.py"):
            inside = path.relative_to(portion)
            if inside.parts[0] not in _NOT_STAGES:
                files.setdefault(str(inside), path)  # the first portion that has a module is imported
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return f"{version('trimtab')}+{digest.hexdigest()[:8]}"


def module_digest(uses: str) -> str:
    """8 hex over the source of a candidate's own module, or of its whole package.

    Args:
        uses: `package.module:build`.

    Raises:
        ProjectError: no such module is installed here.
    """
    module = uses.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        raise ProjectError(
            f"candidate uses {uses}, and there is no module {module}",
            hint="install the wheel that holds it, or put its folder on PYTHONPATH",
        )
    roots = [Path(p) for p in spec.submodule_search_locations or ()]
    files = sorted(f for root in roots for f in root.rglob("*.py")) or [Path(spec.origin or "")]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:8]

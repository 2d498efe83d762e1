"""KFP's local cache, which also remembers which run did the work and tells what it gave away.

KFP keys an entry on component, image, command, arguments (artifacts by URI and metadata) and environment. Beside
each entry stands whose work it was, so that a run can say where a cached stage comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.local import cache as kfp_cache


class ProvenanceCache(kfp_cache.LocalCache):  # type: ignore[misc]
    """A `LocalCache` whose entries name the stage record of the run that made them.

    Args:
        root: the cache's folder.
        record_of: the stage record's key prefix in the present run, for a component's name.
        on_hit: told component name and source record when an entry is used.
    """

    def __init__(self, root: Path, record_of: Callable[[str], str], on_hit: Callable[[str, str], None]) -> None:
        super().__init__(cache_root=str(root))
        self._root = root
        self._record_of = record_of
        self._on_hit = on_hit
        self._components: dict[str, str] = {}

    def compute_key(self, component_name: str, *args: Any, **kwargs: Any) -> str:
        """As KFP's; remembers whose key it is."""
        key = str(super().compute_key(component_name, *args, **kwargs))
        self._components[key] = component_name
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        """As KFP's; a hit is told."""
        outputs: dict[str, Any] | None = super().get(key)
        if outputs is not None:
            try:
                source = str(json.loads(self._origin(key).read_text())["record"])
            except (OSError, ValueError, KeyError):
                source = ""
            self._on_hit(self._components.get(key, ""), source)
        return outputs

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """As KFP's; writes first whose work it is.

        Metrics are metadata alone, and KFP takes an entry whose artifact has no file for lost: they get an empty one.
        """
        for artifact in outputs.values():
            path = Path(str(getattr(artifact, "path", "") or ""))
            if path.is_absolute() and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        self._origin(key).write_text(json.dumps({"record": self._record_of(self._components.get(key, ""))}))
        super().put(key, outputs)

    def _origin(self, key: str) -> Path:
        return self._root / f"{key}.origin"


def install(cache: ProvenanceCache, root: Path) -> None:
    """Make KFP's local runner use this cache: it keeps one per process, made on first use for its folder."""
    kfp_cache._cache_singleton = cache
    kfp_cache._cache_singleton_root = str(root)

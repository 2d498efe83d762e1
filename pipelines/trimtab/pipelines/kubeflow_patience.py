"""How long a run that its pods cannot go on with is waited for, by `submit --wait` and by the hook alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trimtab.core.errors import RunError

if TYPE_CHECKING:
    from trimtab.pipelines.kubeflow_cluster import Cluster, Trouble

_HINTS = {
    "image": "check the image's name and that the cluster may pull it (imagePullSecrets)",
    "schedule": "ask for less under `resources`, or for nodes that have it",
    "config": "the namespace lacks a secret or config map that the stages need",
    "forbidden": "the namespace lacks a service account, a right or quota for the run",
    "volume": "the namespace lacks a secret that a stage mounts",
}


@dataclass
class Patience:
    """Looks at one run's pods now and then, and says when a trouble has lasted too long.

    Attributes:
        cluster: whom to ask.
        object: what an error is about, the run's key.
        every_seconds: between two looks; earlier ones are not made.
        lasts_seconds: how long a trouble that does not pass by itself may last.
        told: given each trouble once, in words.
    """

    cluster: Cluster
    object: str
    every_seconds: float = 5.0
    lasts_seconds: float = 30.0
    told: Callable[[str], None] = lambda _: None
    _since: dict[tuple[str, str], float] = field(default_factory=dict)
    _looked: float = float("-inf")

    def look(self, run_id: str) -> RunError | None:
        """Why the run is to be given up; None while there is hope, or nothing may be read."""
        now = time.monotonic()
        if now - self._looked < self.every_seconds:
            return None
        self._looked = now
        found = {(t.kind, t.pod): t for t in self.cluster.troubles(run_id)}
        for known in [k for k in self._since if k not in found]:
            del self._since[known]
        for name, trouble in found.items():
            if name not in self._since:
                self._since[name] = now
                self.told(_words(trouble))
            if not trouble.passing and now - self._since[name] >= self.lasts_seconds:
                return RunError(_words(trouble), object=self.object, hint=_HINTS.get(trouble.kind, ""))
        return None


def _words(trouble: Trouble) -> str:
    return f"pod {trouble.pod}: {trouble.message}" if trouble.pod else trouble.message

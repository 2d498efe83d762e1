"""What starts a pipeline run for a campaign: the local runner or a cluster, handed in by the hook's command.

Monitoring imports no pipeline; it asks a `Launcher`. `trimtab.pipelines.launcher.LocalLauncher` is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from trimtab.core.errors import RunError

State = Literal["running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class RetrainRequest:
    """One retrain: the champion's own run request with only data, seed and campaign changed, never released by itself.

    Attributes:
        model: name of the model.
        base_key: run key of the champion, whose request (project file, code version, image) is taken over.
        data: the resolved source to train on, as JSON; the same value gives the same run key.
        campaign: number of the campaign.
        retrain: number of the retrain within the campaign, from 1.
        seed: seed of the run.
        candidates: names of the candidates to train; None trains every one of the project file.
    """

    model: str
    base_key: str
    data: Any
    campaign: int
    retrain: int
    seed: int
    candidates: tuple[str, ...] | None = None


class LauncherAway(RunError):
    """What starts runs cannot be reached just now: nothing is known to have failed, and asking again may help."""


class Launcher(Protocol):
    """Starts pipeline runs and knows how they stand. Every method may be repeated."""

    def start(self, request: RetrainRequest) -> str:
        """Start the run, or find it where it was started before.

        Returns:
            The run key. The same request gives the same key and never a second run; one that died without a
            result is taken up again where it stopped.

        Raises:
            LauncherAway: nobody can say now whether it was started; ask again.
            RunError: the run cannot be started (the base run has no request, …).
        """
        ...

    def state(self, key: str) -> State:
        """How the run stands.

        A run whose process died without a result is `failed`; one that nobody can be asked about now is `running`.
        """
        ...

    def cancel(self, key: str) -> None:
        """End the run; nothing happens where it has ended.

        Raises:
            LauncherAway: nobody could be told; ask again.
        """
        ...

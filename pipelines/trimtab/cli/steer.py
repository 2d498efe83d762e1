"""What `rollback` and `promote` share: ask, wait for the decision, wait for the server, say each step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RolloutTimeout

if TYPE_CHECKING:
    from trimtab.core import ledger
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.monitoring.kserve.actuator import KServe

# How long a hook that answers is waited for before the command appends by itself, seconds.
HOOK_SECONDS = 10.0
PAUSE = 0.2


@dataclass
class Steering:
    """One command that changes what serves.

    Attributes:
        settings: where hook and server are.
        store: the store.
        model: the model's name.
        timeout: seconds for everything.
        say: told each step.
        cluster: makes the cluster's actuator, where `--actuator kserve` says that this command may act there itself.
    """

    settings: Settings
    store: Store
    model: str
    timeout: float
    say: Callable[[str], None]
    cluster: Callable[[], KServe] | None = None

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.timeout

    def decide(self, done: Callable[[ledger.State], bool], by_hand: str) -> ledger.State:
        """Wait until the ledger says so; where no hook answers, append it here.

        Args:
            done: whether a state is what was asked for.
            by_hand: what to do when time is up.

        Raises:
            RolloutTimeout: it did not happen in time.
        """
        from trimtab.core import ledger

        answers = _answers(f"{self.settings.hook_url}/healthz")
        own = time.monotonic() + min(HOOK_SECONDS, self.timeout / 2) if answers else 0.0
        if not answers:
            self.say(f"no hook answers at {self.settings.hook_url}: the ledger is written here")
        while True:
            state = ledger.state(self.store, self.model)
            if done(state):
                return state
            if time.monotonic() > own:
                from trimtab.monitoring.controller import append_without_evidence

                for words in append_without_evidence(self.store, self.model):
                    self.say(words)
                continue_at = ledger.state(self.store, self.model)
                if done(continue_at):
                    return continue_at
            self._wait(by_hand)

    def follow(self, version: str, by_hand: str) -> None:
        """Wait until the server answers with a version; say so where none answers at all.

        Raises:
            RolloutTimeout: the server answers, but not with that version.
        """
        if self.cluster is not None or self._place() is not None:
            self._follow_cluster(version, by_hand)
            return
        url = self.settings.server_url
        if not _answers(f"{url}/v2/health/live"):
            self.say(f"no server answers at {url}: it will follow the ledger when it starts")
            return
        while not _answers(f"{url}/v2/models/{self.model}/versions/{version}/ready"):
            self._wait(by_hand)
        self.say(f"{url} serves {version}")

    def _place(self) -> dict[str, Any] | None:
        """What a cluster said last of this model; None where none serves it."""
        from trimtab.monitoring.places import read_place

        return read_place(self.store, self.model)

    def _follow_cluster(self, version: str, by_hand: str) -> None:
        """Wait until the cluster serves a version; where no hook answers, move it there from here."""
        from trimtab.core import ledger

        acting = None
        if not _answers(f"{self.settings.hook_url}/healthz"):
            if self.cluster is None:
                self.say("the cluster follows when the hook is back; `--actuator kserve` moves it from here")
                return
            acting = self.cluster()
        said: tuple[str, ...] = ()
        while True:
            if acting is not None:
                acting.act(self.model, ledger.state(self.store, self.model))
                words, done = acting.words(self.model), acting.settled(self.model)
            else:
                place = self._place() or {}
                words, done = tuple(place.get("words") or ()), bool(place.get("done"))
            if words != said:
                said = words
                self.say("; ".join(words))
            if done and words and version in words[0]:
                return
            self._wait(by_hand)

    def _wait(self, by_hand: str) -> None:
        if time.monotonic() > self.end:
            raise RolloutTimeout(f"it did not happen within {self.timeout:g} s", object=self.model, hint=by_hand)
        time.sleep(PAUSE)


def _answers(url: str) -> bool:
    """Whether a URL answers with 200."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - from settings
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False

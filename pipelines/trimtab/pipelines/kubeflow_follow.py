"""Following a run on Kubeflow to its end: progress from the stages' records, troubles from its pods, one outcome.

A backend that does not answer for a while says nothing about the run: it is asked again until the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trimtab.core import runs
from trimtab.core.errors import RunCancelled, RunError, RunTimeout
from trimtab.core.records import utcnow
from trimtab.core.store.keys import number
from trimtab.pipelines.kubeflow_http import KubeflowError, KubeflowUnreachable
from trimtab.pipelines.kubeflow_patience import Patience
from trimtab.pipelines.kubeflow_records import ask_cancel, cancel_asked, conclude
from trimtab.pipelines.kubeflow_why import reason

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_cluster import Cluster
    from trimtab.pipelines.kubeflow_models import BackendRun
    from trimtab.pipelines.local import Progress


@dataclass(frozen=True)
class Pace:
    """How often to look.

    Attributes:
        poll_seconds: between two looks at the run.
        trouble_seconds: between two looks at its pods.
        patience_seconds: how long a trouble may last before the run is given up.
        settle_seconds: how long a claim is waited for once a run has failed.
        grace_seconds: how long after its time limit a run is ended from outside.
    """

    poll_seconds: float = 2.0
    trouble_seconds: float = 5.0
    patience_seconds: float = 30.0
    settle_seconds: float = 3.0
    grace_seconds: float = 120.0


@dataclass
class Follower:
    """Follows one key's run.

    Attributes:
        kubeflow, store, settings, cluster: whom to ask.
        key: the run.
        progress: told each step as it starts and ends.
        told: given what else is worth knowing, in words.
        pace: how often to look.
        run_seconds: how long the run may take, from its creation; beyond it is ended. 0 without limit.
    """

    kubeflow: Kubeflow
    store: Store
    settings: Settings
    key: str
    cluster: Cluster | None = None
    progress: Callable[[Progress], None] = lambda _: None
    told: Callable[[str], None] = lambda _: None
    pace: Pace = Pace()
    run_seconds: float = 0.0

    def follow(self, run_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end.

        Args:
            run_id: the backend's run; where it turns out to be a duplicate, its key's owner is followed.
            timeout: seconds to wait at most; None waits for ever.

        Returns:
            The run's result, as `core.runs.result`.

        Raises:
            RunCancelled: it was cancelled.
            RunTimeout: the time is up; the run goes on.
            RunError: it failed; where a stage left an error, that.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            run = self._until_ended(run_id, until)
            owner = self._owner_of_duplicate(run)
            if owner is None:
                return self._outcome(run)
            if owner == "":
                done = runs.result(self.store, self.key)
                assert done is not None
                return done
            self.told(f"another run works on {self.key}: {self.kubeflow.access.run_url(owner)}")
            run_id = owner

    def _until_ended(self, run_id: str, until: float | None) -> BackendRun:
        seen: set[str] = set()
        silent = False
        patience = self._patience()
        while True:
            try:
                run = self.kubeflow.run(run_id)
                silent = False
            except KubeflowError as error:
                if not passing(error):
                    raise
                run = None
                if not silent:
                    self.told(f"{error.sentence()} The run goes on meanwhile; it is asked again.")
                silent = True
            self._tell(run_id, seen)  # after the look: no record that was written before the end is missed
            if run is not None and run.ended:
                return run
            if run is not None and self._overdue(run):
                self._give_up(run_id, RunTimeout(
                    f"run {self.key} took longer than {self.run_seconds:g} s, and was ended", object=self.key
                ))  # fmt: skip
            stuck = patience.look(run_id) if patience is not None and run is not None else None
            if stuck is not None:
                self._give_up(run_id, stuck)
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise RunTimeout(
                    f"run {self.key} has not ended in time, and goes on",
                    object=self.key,
                    hint=f"trimtab runs {self.key} shows it; trimtab cancel {self.key} ends it",
                )
            time.sleep(self.pace.poll_seconds if left is None else min(self.pace.poll_seconds, left))

    def _tell(self, run_id: str, seen: set[str]) -> None:
        from trimtab.pipelines.local import tell

        mine = next((a for a in runs.attempts(self.store, self.key) if a.run_id == run_id), None)
        if mine is not None:
            tell(self.store, f"runs/{self.key}/attempts/{number(mine.n)}/", seen, self.progress)

    def _patience(self) -> Patience | None:
        if self.cluster is None:
            return None
        return Patience(self.cluster, self.key, self.pace.trouble_seconds, self.pace.patience_seconds, self.told)

    def _overdue(self, run: BackendRun) -> bool:
        """Whether a run goes on beyond its limit, which its stages keep themselves as long as they are at work."""
        if not self.run_seconds or run.created_at is None:
            return False
        return (utcnow() - run.created_at).total_seconds() > self.run_seconds + self.pace.grace_seconds

    def _give_up(self, run_id: str, error: RunError) -> None:
        """End a run that cannot go on: it would stay RUNNING for ever, and keep its key."""
        try:
            self.kubeflow.terminate(run_id)
        except KubeflowError as refused:
            self.told(refused.sentence())
        mine = next((a for a in runs.attempts(self.store, self.key) if a.run_id == run_id), None)
        if mine is not None:
            runs.end(self.store, self.key, mine.n, "failed", error.facts())
        raise error

    def _owner_of_duplicate(self, run: BackendRun) -> str | None:
        """The run to follow in place of one that found its key taken.

        Returns:
            The owner's id; empty where the key has a result; None where the run is no duplicate.
        """
        if run.state != "FAILED":
            return None
        until = time.monotonic() + self.pace.settle_seconds
        while True:
            attempts = runs.attempts(self.store, self.key)
            if any(a.run_id == run.id for a in attempts) or cancel_asked(self.store, self.key, run.id):
                return None
            if runs.result(self.store, self.key) is not None:
                return ""
            last = attempts[-1] if attempts else None
            if last is not None and last.run_id != run.id and not last.ended:
                return last.run_id
            if time.monotonic() >= until:
                return None
            time.sleep(0.2)

    def _outcome(self, run: BackendRun) -> dict[str, Any]:
        state = conclude(self.store, self.key, run)
        if state == "succeeded":
            return runs.result(self.store, self.key) or {"state": "succeeded", "version": "", "winner": ""}
        if state == "cancelled":
            raise RunCancelled(f"run {self.key} was cancelled", object=self.key)
        found = reason(self.kubeflow, self.store, self.key, run, self.settings, self.cluster)
        raise found.error(self.key, self.kubeflow.access.run_url(run.id))


def passing(error: KubeflowError) -> bool:
    """Whether asking again may help: what cannot be reached now says nothing about the run."""
    return isinstance(error, KubeflowUnreachable) or error.status >= 500 or error.status in (0, 429)


def cancel(
    kubeflow: Kubeflow, store: Store, key: str, run_id: str, who: str = "", seconds: float = 60.0, poll: float = 1.0
) -> Literal["cancelled", "succeeded", "failed"]:
    """End a run on the backend, and put down that it was cancelled.

    Raises:
        RunTimeout: it has not ended in time; it was told to.
        KubeflowError: the backend cannot be reached or refuses.
    """
    run = kubeflow.run(run_id)
    if not run.ended:
        ask_cancel(store, key, run_id, who)
        kubeflow.terminate(run_id)
    until = time.monotonic() + seconds
    while not run.ended:
        run = kubeflow.run(run_id)
        if run.ended:
            break
        if time.monotonic() >= until:
            raise RunTimeout(f"run {key} was told to end, and has not yet", object=key, hint="look again in a while")
        time.sleep(poll)
    state = conclude(store, key, run)
    return "cancelled" if state == "cancelled" else "succeeded" if state == "succeeded" else "failed"

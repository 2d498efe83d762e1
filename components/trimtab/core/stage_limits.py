"""When a task on a cluster gives up by itself: its time is over, or it failed the same way a moment ago.

A pod that Kubernetes ends for its deadline leaves no reason; a stage that ends a little earlier writes one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import DataError, ProjectError, RunTimeout, TrimtabError
from trimtab.core.records import decode, parse_time, utcnow
from trimtab.core.store.keys import number

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store

# A retry follows its failure by seconds; whoever mends something and starts the task again takes longer.
RETRY_SECONDS = 90
_MISTAKES: dict[str, type[TrimtabError]] = {c.__name__: c for c in (ProjectError, DataError, RunTimeout)}


def seconds_left(store: Store, key: str, attempt: int, stage: str, settings: Settings) -> float:
    """How long a task may take, by its own limit and its run's; 0 where neither has one.

    Raises:
        RunTimeout: the run's time was over before the task began.
    """
    limit = settings.stage_timeout
    if settings.run_timeout:
        owner = decode(store.get(f"runs/{key}/attempts/{number(attempt)}/owner.json"), "run-owner")
        spent = (utcnow() - parse_time(str(owner["written_at"]))).total_seconds()
        left = settings.run_timeout - spent
        if left <= 0:
            raise _over(stage, f"the run's {settings.run_timeout / 60:g} minutes", "resources.run_minutes")
        limit = min(limit, left) if limit else left
    return limit


@contextmanager
def deadline(stage: str, seconds: float, settings: Settings, say: Callable[[TrimtabError], None]) -> Iterator[None]:
    """End this process when the time is over, once the reason is put down.

    Args:
        stage: the stage's name.
        seconds: how long it may take; 0 for ever.
        settings: whose limit it is, for the words.
        say: writes the error's record.
    """
    if not seconds:
        yield
        return
    own = bool(settings.stage_timeout) and seconds >= settings.stage_timeout
    which = f"its {seconds / 60:g} minutes" if own else f"the run's {settings.run_timeout / 60:g} minutes"
    key = f"resources.stages.{stage}.minutes" if own else "resources.run_minutes"

    def end() -> None:
        try:
            say(_over(stage, which, key))
        finally:
            os._exit(RunTimeout.exit_code)  # whatever the stage computes in native code would not stop otherwise

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def repeated_mistake(store: Store, folder: str) -> TrimtabError | None:
    """The error of the task's last try, where trying again cannot help and the backend did all the same.

    Args:
        store: where runs are recorded.
        folder: prefix of the stage's tries.
    """
    tries = [name for name in store.list(f"{folder}/") if name.endswith("/error.json")]
    if not tries:
        return None
    record: dict[str, Any] = decode(store.get(tries[-1]), "stage-error", tries[-1])
    age = (utcnow() - parse_time(str(record["written_at"]))).total_seconds()
    kind = _MISTAKES.get(str(record.get("kind")))
    if kind is None or age > RETRY_SECONDS:
        return None
    return kind(str(record.get("message", "")), hint="the try before failed with this, so it was not done again")


def _over(stage: str, which: str, setting: str) -> RunTimeout:
    return RunTimeout(f"stage {stage} was ended: {which} were over", object=stage, hint=f"raise {setting}")

"""The run record: one key is one run, whoever asks and however often.

Keys below `runs/`::

    <key>/request.json                                      what is to be run
    <key>/attempts/<n>/owner.json                           who runs attempt n (its creation is the claim)
    <key>/attempts/<n>/ended.json                           how attempt n ended
    <key>/attempts/<n>/<stage>[.<candidate>]/<try>/…        `core.stage_records`
    <key>/result.json                                       once, when an attempt succeeded
    by-id/<backend's run id>.json                           which run and attempt a backend's run is
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from trimtab.core import processes
from trimtab.core.errors import DuplicateRun, NotFound, RecordError
from trimtab.core.records import canonical, create_record, read_record
from trimtab.core.stage_records import StageRecord, by_id, errors, mark_cached, stage_record, stage_results
from trimtab.core.store.keys import number

if TYPE_CHECKING:
    from trimtab.core.store import Store

__all__ = [
    "Attempt",
    "RunRequest",
    "StageRecord",
    "attempts",
    "by_id",
    "claim",
    "end",
    "errors",
    "finish",
    "list_runs",
    "mark_cached",
    "newest",
    "open_run",
    "read_request",
    "result",
    "run_key",
    "stage_record",
    "stage_results",
]


@dataclass(frozen=True)
class RunRequest:
    """What is to be run; with the same fields it is the same run.

    Attributes:
        project: the whole canonical project file.
        data: the source, resolved: its file lists are fixed.
        source_digest: digest of the data that the source names.
        reason: why it is run, in words; no part of the key.
        release: `ask` for a rollout of what passes, or `hold`.
        campaign, retrain: numbers of the campaign and its retrain that asked; None for a person.
        seed: seed of the split and of training; None takes the project's.
        candidates: names of the candidates to train; None trains all.
        base_key: the run that this one repeats on other data.
        image: the stages' image, by digest; empty locally.
        code_version: version of the code that runs.
        salt: set by `--again`, to run once more what has run before.
    """

    project: dict[str, Any]
    data: Any
    source_digest: str
    reason: str = ""
    release: Literal["ask", "hold"] = "ask"
    campaign: int | None = None
    retrain: int | None = None
    seed: int | None = None
    candidates: list[str] | None = None
    base_key: str = ""
    image: str = ""
    code_version: str = ""
    salt: str = ""

    @property
    def model(self) -> str:
        """The model's name, which is the project's."""
        return str(self.project["name"])

    @property
    def key(self) -> str:
        """The run's key."""
        params = {
            "release": self.release,
            "campaign": self.campaign,
            "retrain": self.retrain,
            "seed": self.seed,
            "candidates": self.candidates,
        }
        return run_key(self.project, self.source_digest, self.code_version, params, self.salt)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run: its number, who owns it, and how it ended (empty while nobody said)."""

    n: int
    run_id: str
    host: str
    state: str = ""
    error: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended, said or not: a local owner that no longer runs has."""
        if self.state:
            return True
        return processes.pid_of(self.run_id) is not None and (
            self.host == socket.gethostname() and not processes.running(self.run_id)
        )


def run_key(
    project: Mapping[str, Any], source_digest: str, code_version: str, params: Mapping[str, Any], salt: str = ""
) -> str:
    """The key of a run: 16 hex of the sha256 over what makes it that run.

    >>> run_key({"name": "a"}, "d", "1", {}) == run_key({"name": "a"}, "d", "1", {}, salt="1")
    False
    """
    parts = {
        "project": dict(project),
        "source": source_digest,
        "code": code_version,
        "params": dict(params),
        "salt": salt,
    }
    return hashlib.sha256(canonical(parts)).hexdigest()[:16]


def open_run(store: Store, request: RunRequest, again: bool = False) -> str:
    """Put down what is to be run, and give its key; the same request gives the same key.

    Args:
        store: where runs are recorded.
        request: what is to be run.
        again: run what has succeeded before once more, under a key of its own; one that has not is gone on with.
    """
    if again:
        salt = 0
        while result(store, request.key) is not None:
            salt += 1
            request = RunRequest(**{**asdict(request), "salt": str(salt)})
    create_record(store, f"runs/{request.key}/request.json", "run-request", asdict(request))
    return request.key


def read_request(store: Store, key: str) -> RunRequest:
    """What a run was asked to be.

    Raises:
        NotFound: no such run.
    """
    record = read_record(store, f"runs/{key}/request.json", "run-request")
    known = {f.name for f in fields(RunRequest)}
    try:
        return RunRequest(**{k: v for k, v in record.items() if k in known})
    except TypeError as error:
        raise RecordError("a run's request lacks a field", object=f"runs/{key}/request.json", got=str(error)) from None


def attempts(store: Store, key: str) -> list[Attempt]:
    """The attempts at a run, oldest first."""
    found: list[Attempt] = []
    while True:
        prefix = f"runs/{key}/attempts/{number(len(found) + 1)}"
        try:
            owner = read_record(store, f"{prefix}/owner.json", "run-owner")
        except NotFound:
            return found
        try:
            end = read_record(store, f"{prefix}/ended.json", "run-ended")
        except NotFound:
            end = {}
        found.append(
            Attempt(
                len(found) + 1, str(owner["run_id"]), str(owner["host"]), str(end.get("state", "")), end.get("error")
            )
        )


def newest(store: Store, key: str) -> Attempt | None:
    """The newest attempt at a run; None where nobody has claimed it yet."""
    found = attempts(store, key)
    return found[-1] if found else None


def claim(store: Store, key: str, run_id: str, has_ended: Callable[[Attempt], bool] | None = None) -> int:
    """Make a backend's run the owner of the next attempt at a run, and give the attempt's number.

    The same backend's run may claim again and gets the same number. A new attempt opens only when the owner of the
    one before has ended.

    Args:
        store: where runs are recorded.
        key: the run.
        run_id: the backend's own id of its run.
        has_ended: asks the backend whether an attempt's owner has ended; by default what the record and, for a
            process of this machine, the system say.

    Raises:
        DuplicateRun: another run owns the key and is at work, or has succeeded.
    """
    mine = {"run_id": run_id, "host": socket.gethostname()}
    while True:
        last = newest(store, key)
        if last is not None and last.run_id == run_id:
            n = last.n
            break
        if result(store, key) is not None:
            raise DuplicateRun(f"run {key} has succeeded before", object=key, hint="run with --again to repeat it")
        if last is not None and not (last.ended or (has_ended is not None and has_ended(last))):
            raise DuplicateRun(
                f"run {key} is at work as {last.run_id} on {last.host}",
                object=key,
                hint="follow that one, or end it first",
            )
        n = 1 if last is None else last.n + 1
        if create_record(store, f"runs/{key}/attempts/{number(n)}/owner.json", "run-owner", mine):
            break
    create_record(store, f"runs/by-id/{run_id}.json", "run-id", {"key": key, "attempt": n})
    return n


def finish(store: Store, key: str, figures: Mapping[str, Any]) -> None:
    """Write a run's result, once; a second result is ignored."""
    create_record(store, f"runs/{key}/result.json", "run-result", figures)


def end(store: Store, key: str, n: int, state: str, error: Mapping[str, Any] | None = None) -> None:
    """Say how an attempt ended: `succeeded`, `failed` or `cancelled`; the first to say so is believed."""
    create_record(
        store,
        f"runs/{key}/attempts/{number(n)}/ended.json",
        "run-ended",
        {"state": state, "error": dict(error) if error else None},
    )


def result(store: Store, key: str) -> dict[str, Any] | None:
    """A run's result; None while there is none."""
    try:
        return read_record(store, f"runs/{key}/result.json", "run-result")
    except NotFound:
        return None


def list_runs(store: Store) -> list[str]:
    """The keys of all runs, in the order of their keys."""
    keys: list[str] = []
    after: str | None = None
    # Skip from run to run: what lies below one may be a hundred records.
    while True:
        found = next(iter(store.list("runs/", after)), None)
        if found is None:
            return keys
        name = found.split("/")[1]
        if name != "by-id" and name not in keys:
            keys.append(name)
        after = f"runs/{name}0"  # "0" sorts right behind "/"

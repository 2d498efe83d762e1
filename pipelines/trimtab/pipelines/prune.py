"""What may go: garbage of the store, and old runs and pipeline versions of a backend, which keeps everything for ever.

Truth is never taken: no record of a run, no ledger, no dataset. Of a backend's runs those that a published version
came from stay, and those that nobody here started; of its pipeline versions those that a run or a schedule names.

A store does not say how old a key is. So garbage is noted the first time it is seen (`reports/garbage/…`), and taken
when a note is a day old and it is garbage still.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trimtab.core import bundle, runs
from trimtab.core.envelope import MANIFEST
from trimtab.core.errors import NotFound, StoreError, TrimtabError
from trimtab.core.records import create_record, parse_time, read_record, utcnow
from trimtab.core.run_starts import failed_start
from trimtab.pipelines.kubeflow_records import conclude, key_of, started

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_models import BackendRun, Version

GRACE = timedelta(days=1)
_KEY = re.compile(r"[0-9a-f]{16}")
_NOUN = "garbage"


@dataclass(frozen=True)
class Garbage:
    """Something of the store that nobody needs.

    Attributes:
        prefix: all keys below it, or the key itself.
        keys: how many.
        why: in words.
        since: when it was noted first; None: never before.
    """

    prefix: str
    keys: int
    why: str
    since: datetime | None

    def ripe(self, now: datetime) -> bool:
        """Whether it has been garbage for a day."""
        return self.since is not None and now - self.since >= GRACE


def garbage(store: Store) -> list[Garbage]:
    """What of a store is garbage now."""
    busy = _busy_models(store)
    found = []
    for model in bundle.list_models(store):
        for prefix, count in sorted(_uncommitted(store, model).items()):
            if model not in busy:  # a run that publishes goes on with these very files
                why = "files of a version that was never published"
                found.append(Garbage(prefix, count, why, _noted(store, prefix)))
    probes = list(store.list("probe/"))
    found += [Garbage(key, 1, "a trial of the store that stayed", _noted(store, key)) for key in probes]
    return found


def take(store: Store, found: list[Garbage], now: datetime | None = None) -> tuple[int, int]:
    """Delete what is ripe, and note the rest.

    Returns:
        How many keys were deleted, and how many things were noted for the first time.
    """
    now = now or utcnow()
    deleted = noted = 0
    for one in found:
        note = _note(one.prefix)
        if one.since is None:
            noted += create_record(store, note, _NOUN, {"prefix": one.prefix, "why": one.why})
            continue
        if not one.ripe(now):
            continue
        if one.prefix.startswith("models/") and store.exists(f"{one.prefix}{MANIFEST}"):
            continue  # published since it was looked at
        for key in [one.prefix] if one.prefix.startswith("probe/") else list(store.list(one.prefix)):
            store.delete(key)
            deleted += 1
        with contextlib.suppress(StoreError):
            store.delete(note)
    return deleted, noted


def old_runs(kubeflow: Kubeflow, store: Store, days: float, now: datetime | None = None) -> list[BackendRun]:
    """Runs of the backend that may go: ours, ended more than `days` ago, and no version came from them.

    Args:
        kubeflow: the backend.
        store: where runs are recorded.
        days: how old.
        now: the time, for tests.
    """
    limit = (now or utcnow()) - timedelta(days=days)
    kept = origins(store)
    known = set(runs.list_runs(store))
    return [
        run
        for run in kubeflow.runs()
        if run.ended
        and (run.finished_at or run.created_at or limit) < limit
        and _ours(store, run, known)
        and (key_of(store, run.id) or run.name) not in kept
    ]


def take_runs(kubeflow: Kubeflow, store: Store, found: list[BackendRun]) -> int:
    """Delete runs of the backend, each after its end has been put down.

    Returns:
        How many.
    """
    for run in found:
        key = key_of(store, run.id)
        if key:
            conclude(store, key, run)
        kubeflow.delete_run(run.id)
    return len(found)


def old_versions(
    kubeflow: Kubeflow,
    store: Store,
    days: float,
    keep: int,
    without: Collection[BackendRun] = (),
    now: datetime | None = None,
) -> list[Version]:
    """Pipeline versions of the backend that may go: ours, made more than `days` ago, and nothing names them.

    Args:
        kubeflow: the backend.
        store: where runs are recorded.
        days: how old.
        keep: how many of each pipeline's newest stay; at least one, which schedules may mean that name no version.
        without: runs that will be gone by then.
        now: the time, for tests.
    """
    limit = (now or utcnow()) - timedelta(days=days)
    begun = {key: started(store, key) for key in runs.list_runs(store)}
    own = {one.version_id for found in begun.values() for one in found}
    # A champion's retrains are runs of its own version.
    used = _used(kubeflow, without) | {one.version_id for key in origins(store) for one in begun.get(key, ())}
    found = []
    for pipeline_id in kubeflow.pipelines(shared=not kubeflow.health().multi_user):
        ours = [v for v in kubeflow.versions(pipeline_id) if v.ours or v.id in own]
        found += [v for v in ours[max(1, keep) :] if v.id not in used and (v.created_at or limit) < limit]
    return found


def take_versions(kubeflow: Kubeflow, found: Collection[Version]) -> int:
    """Delete pipeline versions, but for those that are in use by now.

    The backend itself deletes one that is in use. A run that is submitted in the very moment fails to start, and the
    next `submit` uploads its version again.

    Returns:
        How many.
    """
    used = _used(kubeflow) if found else set()
    unused = [v for v in found if v.id not in used]
    for version in unused:
        kubeflow.delete_version(version)
    return len(unused)


def _used(kubeflow: Kubeflow, without: Collection[BackendRun] = ()) -> set[str]:
    """The versions that runs and schedules of the backend name, whoever's they are."""
    gone = {run.id for run in without}
    return {r.version_id for r in kubeflow.runs() if r.id not in gone} | {r.version_id for r in kubeflow.recurring()}


def origins(store: Store) -> set[str]:
    """The keys of the runs that published versions came from."""
    found = set()
    for model in bundle.list_models(store):
        for version in bundle.list_versions(store, model):
            with contextlib.suppress(TrimtabError):
                found.add(str(bundle.read_manifest(store, model, version).lineage.get("run_key", "")))
    return found


def _ours(store: Store, run: BackendRun, known: set[str]) -> bool:
    """Whether a run is one of this store's: it claimed a key, bears one as its name, or left why it could not."""
    if key_of(store, run.id):
        return True
    return (bool(_KEY.fullmatch(run.name)) and run.name in known) or failed_start(store, run.id) is not None


def _uncommitted(store: Store, model: str) -> dict[str, int]:
    """Prefixes of versions without a manifest, with the number of their files."""
    base = f"models/{model}/versions/"
    counts: dict[str, int] = {}
    committed = set(bundle.list_versions(store, model))
    for version, name in _files(store, base):
        if version not in committed and name:
            counts[f"{base}{version}/"] = counts.get(f"{base}{version}/", 0) + 1
    return counts


def _files(store: Store, base: str) -> Iterator[tuple[str, str]]:
    for key in store.list(f"{base}v"):
        version, _, name = key.removeprefix(base).partition("/")
        yield version, name


def _busy_models(store: Store) -> set[str]:
    found = set()
    for key in runs.list_runs(store):
        last = runs.newest(store, key)
        if last is not None and not last.ended and runs.result(store, key) is None:
            with contextlib.suppress(TrimtabError):
                found.add(runs.read_request(store, key).model)
    return found


def _note(prefix: str) -> str:
    return f"reports/garbage/{hashlib.sha256(prefix.encode()).hexdigest()[:16]}.json"


def _noted(store: Store, prefix: str) -> datetime | None:
    try:
        return parse_time(str(read_record(store, _note(prefix), _NOUN)["written_at"]))
    except NotFound:
        return None

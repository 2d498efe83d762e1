"""Runs as facts and as tables, for `trimtab runs`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trimtab.core import runs
from trimtab.core.errors import NotFound, ProjectError
from trimtab.core.processes import pid_of
from trimtab.core.records import read_record
from trimtab.core.run_starts import failed_start
from trimtab.pipelines.kubeflow_records import failed_starts, started

if TYPE_CHECKING:
    from rich.table import Table

    from trimtab.core.store import Store

_EARLY = ".error.json"


def state_of(store: Store, key: str) -> str:
    """`succeeded`, `running`, `failed`, `cancelled`, `stopped` (its process was killed) or `new`."""
    if runs.result(store, key) is not None:
        return "succeeded"
    last = runs.newest(store, key)
    if last is None:
        here = started(store, key)
        return "failed" if here and failed_start(store, here[-1].run_id) is not None else "new"
    return last.state or ("stopped" if last.ended else "running")


def place_of(store: Store, key: str) -> str:
    """Where a run was or is at work: `cluster`, `here` (a process of some machine), or empty while nobody took it."""
    last = runs.newest(store, key)
    if last is not None:
        return "cluster" if pid_of(last.run_id) is None else "here"
    return "cluster" if next(iter(store.list(f"runs/{key}/kubeflow/")), None) is not None else ""


def summary(store: Store, key: str) -> dict[str, Any]:
    """One run in a line."""
    record = read_record(store, f"runs/{key}/request.json", "run-request")
    done = runs.result(store, key) or {}
    return {
        "key": key,
        "model": record["project"]["name"],
        "asked_at": record["written_at"],
        "reason": record["reason"],
        "campaign": record["campaign"],
        "retrain": record["retrain"],
        "state": state_of(store, key),
        "place": place_of(store, key),
        "version": done.get("version", ""),
        "winner": done.get("winner", ""),
        "seconds": done.get("seconds"),
    }


def every(store: Store) -> list[dict[str, Any]]:
    """All runs, oldest first; starts that failed before they had a key are among them, by the backend's id."""
    keys = runs.list_runs(store)
    found = [summary(store, key) for key in keys]
    failed = [n.split("/")[2].removesuffix(_EARLY) for n in store.list("runs/by-id/") if n.endswith(_EARLY)]
    if failed:
        ours = {s.run_id for key in keys for s in started(store, key)}
        found += [_keyless(i, error) for i in failed if i not in ours and (error := failed_start(store, i))]
    return sorted(found, key=lambda r: str(r["asked_at"]))


def early(store: Store, run_id: str) -> dict[str, Any] | None:
    """Why a start, by the backend's id, failed before it had a key, in the fields of an error record; None if not."""
    return failed_start(store, run_id) if re.fullmatch("[A-Za-z0-9-]+", run_id) else None


def _keyless(run_id: str, error: dict[str, Any]) -> dict[str, Any]:
    """A start that failed before it had a key, in the fields of `summary`."""
    nothing = dict.fromkeys(("model", "version", "winner"), "")
    unknown = dict.fromkeys(("campaign", "retrain", "seconds"))
    told = {"asked_at": error["written_at"], "reason": error["message"], "state": "failed", "place": "cluster"}
    return {"key": run_id, **nothing, **unknown, **told}


def find_key(store: Store, key: str) -> str:
    """The whole of a run's key from its beginning.

    Raises:
        ProjectError: no run or several begin so.
    """
    found = [k for k in runs.list_runs(store) if k.startswith(key)]
    if len(found) != 1:
        raise ProjectError(
            f"no run is called {key}" if not found else f"{len(found)} runs begin so",
            object=key,
            hint="trimtab runs lists them",
        )
    return found[0]


def one(store: Store, key: str) -> dict[str, Any]:
    """One run with its stages and errors.

    Raises:
        ProjectError: no such run, or the beginning of several.
    """
    failed = early(store, key)
    if failed is not None:
        return {**_keyless(key, failed), "stages": {}, "errors": [failed]}
    key = find_key(store, key)
    try:
        facts = summary(store, key)
    except NotFound:
        raise ProjectError("that run left no request", object=key) from None
    errors = [*failed_starts(store, key), *runs.errors(store, key)]
    return {**facts, "stages": runs.stage_results(store, key), "errors": errors}


def runs_table(facts: list[dict[str, Any]]) -> Table:
    """All runs as a table."""
    from rich.table import Table

    table = Table("run", "model", "asked", "why", "where", "state", "version", "winner", "seconds", box=None)
    for run in facts:
        table.add_row(
            run["key"],
            run["model"],
            run["asked_at"][:19].replace("T", " "),
            run["reason"],
            run["place"],
            run["state"],
            run["version"],
            run["winner"],
            "" if run["seconds"] is None else f"{run['seconds']:.1f}",
        )
    return table


def stages_table(facts: dict[str, Any]) -> Table:
    """One run's stages as a table."""
    from rich.table import Table

    title = f"{facts['key']} · {facts['model']} · {facts['state']} · {facts['version']}"
    table = Table("stage", "seconds", "CPU s", "peak MB", "from", title=title, title_justify="left", box=None)
    for name, record in sorted(facts["stages"].items(), key=lambda s: str(s[1].get("written_at", ""))):
        cost = record.get("cost") or {}
        cached = record.get("cached")
        source = str(cached["source"]).split("/")[1] if cached and cached["source"] else ""
        table.add_row(
            name,
            f"{cost.get('wall_seconds', 0):.1f}",
            f"{cost.get('cpu_seconds', 0):.1f}",
            f"{cost.get('peak_memory_bytes', 0) / 1e6:.0f}",
            f"cache, run {source}" if cached else "",
        )
    for error in facts["errors"]:
        table.add_row(error["stage"], "", "", "", f"[red]{error['message']}[/]")
    return table

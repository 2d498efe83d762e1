"""The run's first task: fix the data, make the key where it is empty, and claim the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from trimtab.core.errors import DuplicateRun, ProjectError, TrimtabError

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.store import Store


class DefineConfig(BaseModel):
    """What a compiled pipeline holds about its own run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: dict[str, Any]
    seed: int | None = None
    candidates: list[str] | None = None
    code_version: str = ""
    image: str = ""

    def parsed(self) -> Project:
        """The project that is baked in."""
        from trimtab.core.project import Project

        return Project.from_canonical(self.project)


def claim_run(
    config: DefineConfig,
    store: Store,
    run_id: str,
    *,
    key: str = "",
    data: str = "",
    reason: str = "",
    release: str = "ask",
) -> str:
    """Open the run where nobody has, claim it, and fix its data.

    Args:
        config: what the pipeline was compiled with.
        store: where runs are recorded.
        run_id: the backend's id of this run; empty (a stage on its own) claims nothing.
        key: the run's key; empty makes one from what is to be run and who runs it.
        data: a source as JSON; empty takes the project file's own, read afresh.
        reason: why it is run, in words.
        release: `ask` or `hold`.

    Returns:
        The fixed source for ingest (`core.run_sources`): the same text for the same data, so that the cache of what
        follows holds.

    Raises:
        ProjectError: `data` or `release` is wrong.
        DataError: the data cannot be found.
        DuplicateRun: another run owns the key.
    """
    from trimtab.core import runs
    from trimtab.core.run_sources import as_parameter
    from trimtab.core.run_starts import note_duplicate, note_failed_start

    try:
        if key:
            request = runs.read_request(store, key)
        else:
            request = _request(config, store, data, reason, release, run_id)
            key = runs.open_run(store, request)
    except TrimtabError as error:
        if run_id:
            note_failed_start(store, run_id, error)
        raise
    if run_id:
        try:
            runs.claim(store, key, run_id)
        except DuplicateRun:
            note_duplicate(store, key, run_id)
            raise
    return as_parameter(key, request.data)


def _request(config: DefineConfig, store: Store, data: str, reason: str, release: str, run_id: str) -> Any:
    from trimtab.core.runs import RunRequest
    from trimtab.core.sources import resolve

    if release not in ("ask", "hold"):
        raise ProjectError("parameter release", expected="ask or hold", got=repr(release))
    hold: Literal["ask", "hold"] = "hold" if release == "hold" else "ask"
    project = config.parsed()
    try:
        source = json.loads(data) if data else project.data.source
    except ValueError:
        source = data  # the bare text of a source, as the project file writes it
    found = resolve(source, store, project.base)
    return RunRequest(
        project=config.project,
        data=found.source,
        source_digest=found.digest,
        reason=reason,
        release=hold,
        seed=config.seed,
        candidates=config.candidates,
        code_version=config.code_version,
        image=config.image,
        salt=run_id,  # whoever starts a pipeline without a key wants a run, also of what has run before
    )

"""Starting a campaign's retrains on this machine: children that outlive the hook and are found again by run key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core import runs
from trimtab.core.errors import NotFound, RunError
from trimtab.core.launch import RetrainRequest, State
from trimtab.pipelines import children
from trimtab.pipelines.retrains import retrain_request
from trimtab.pipelines.work import work_folder

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store


class LocalLauncher:
    """`core.launch.Launcher` by child processes of this machine.

    Args:
        store: the store.
        settings: where the work folder of an S3 store is.
        work: the work folder; by default the store's own.
    """

    def __init__(self, store: Store, settings: Settings, work: Path | None = None) -> None:
        self._store = store
        self._work = work or work_folder(store.url, settings)
        # Held so that a child that ended is reaped and does not stay behind as a zombie.
        self._children: dict[str, children.Child] = {}

    def start(self, request: RetrainRequest) -> str:
        """See `Launcher.start`."""
        try:
            base = runs.read_request(self._store, request.base_key)
        except NotFound:
            raise RunError(
                f"the champion's run {request.base_key} left no request, so it cannot be run on other data",
                object=request.base_key,
                hint="run the project once more: trimtab run FILE",
            ) from None
        run = retrain_request(self._store, request, base)
        key = runs.open_run(self._store, run)
        if runs.result(self._store, key) is None and not self._at_work(key) and not self._said(key):
            self._children[key] = children.start(self._store, key, self._work, attached=False)
        return key

    def state(self, key: str) -> State:
        """See `Launcher.state`."""
        if runs.result(self._store, key) is not None:
            return "succeeded"
        said = self._said(key)
        if said == "cancelled":
            return "cancelled"
        if said or not self._at_work(key):
            # The result may have been written between the two looks.
            return "succeeded" if runs.result(self._store, key) is not None else "failed"
        return "running"

    def cancel(self, key: str) -> None:
        """See `Launcher.cancel`."""
        if runs.result(self._store, key) is not None or self._said(key):
            return
        child = self._child(key)
        if child is not None:
            child.end()
        last = runs.newest(self._store, key)
        if last is not None:
            children.end_group(last.run_id)
            runs.end(self._store, key, last.n, "cancelled")

    def _said(self, key: str) -> str:
        last = runs.newest(self._store, key)
        return last.state if last is not None else ""

    def _child(self, key: str) -> children.Child | None:
        return self._children.get(key) or children.find(key, self._work)

    def _at_work(self, key: str) -> bool:
        child = self._child(key)
        if child is not None and child.running:
            return True
        last = runs.newest(self._store, key)
        return last is not None and not last.ended

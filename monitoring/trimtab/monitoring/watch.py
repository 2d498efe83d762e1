"""The watch: follows the champion, judges its windows, shows, draws and alarms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from trimtab.core import ledger
from trimtab.core.errors import StoreError
from trimtab.core.records import utcnow
from trimtab.monitoring import reference, windows
from trimtab.monitoring.alarm import Alarm
from trimtab.monitoring.follow import Follow
from trimtab.monitoring.metrics import WatchMetrics
from trimtab.monitoring.reading import KEPT_ROWS
from trimtab.monitoring.report import Reporter
from trimtab.monitoring.windows import Verdict

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Newest windows over which the share of labelled rows is shown.
COVERED = 10
_log = logging.getLogger(__name__)


class Watch:
    """Watches one model's champion.

    Args:
        store: everything is read from it and written to it.
        model: the model's name.
        metrics: shown here; None shows nothing.
        reporter: draws a report when the verdict changes; None draws none.
        alarm: posts drift verdicts; None posts none.
        clock: gives the time.
    """

    def __init__(
        self,
        store: Store,
        model: str,
        metrics: WatchMetrics | None = None,
        reporter: Reporter | None = None,
        alarm: Alarm | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self.store = store
        self.model = model
        self.metrics = metrics
        self.reporter = reporter
        self.alarm = alarm
        self.clock = clock
        self._state = ledger.fold([])
        self._follow: Follow | None = None
        self._fresh = False

    def step(self) -> list[Verdict]:
        """Look once: new rows become windows, new labels better verdicts.

        May be repeated, interrupted and run by several at once: what was done is not done again.

        Returns:
            Verdicts that are new.

        Raises:
            StoreError: the store could not be read or written; call again later.
        """
        self._state = ledger.refresh(self.store, self.model, self._state)
        follow = self._following(self._state.champion)
        if follow is None:
            self._looked(None)
            return []
        try:
            said = follow.step(self.clock())
        except StoreError:
            self._follow = None  # read afresh from the records, so that nothing is lost or counted twice
            raise
        newest = follow.newest.said if follow.newest else None
        if self.alarm is not None:
            self.alarm.step(newest, self.clock())
        for one in said:
            _log.info("window %d of %s: %s. %s", one.window, one.version, one.verdict, one.words)
            self._draw(follow, one)
        if said or self._fresh:
            self._show(follow)
        self._fresh = False
        self._looked(follow)
        return said

    def _looked(self, follow: Follow | None) -> None:
        """Say that the watch is alive: nothing else may, so that one that fails never looks healthy."""
        if self.metrics is not None:
            self.metrics.looked(self.model, follow.health if follow is not None else None, self.clock())

    def _following(self, champion: str | None) -> Follow | None:
        if champion is None:
            return None
        if self._follow is None or self._follow.version != champion:
            if self._follow is not None and self.metrics is not None:
                self.metrics.forget(self.model, self._follow.version)
            self._follow = Follow(self.store, self.model, reference.load(self.store, self.model, champion))
            self._fresh = True
            _log.info("following %s", champion, extra={"version": champion})
        return self._follow

    def _show(self, follow: Follow) -> None:
        newest = follow.newest
        if self.metrics is None or newest is None or newest.said is None:
            return
        recent = [follow.history[w].figures for w in sorted(follow.history)[-COVERED:]]
        labelled = [f.realised for f in recent if f.realised is not None and f.realised.labelled]
        fields = newest.figures.inputs.fields if newest.figures.inputs else []
        self.metrics.show(self.model, newest.said, fields, labelled[-1] if labelled else None, self.clock())
        self.metrics.covered(
            self.model,
            sum(r.labelled for r in labelled) / max(1, sum(min(f.rows, KEPT_ROWS) for f in recent)),
            sum(r.contradicted for r in labelled),
        )

    def _draw(self, follow: Follow, said: Verdict) -> None:
        """Ask for the page of a verdict that has one, and for Evidently's report where the verdict changed."""
        key = windows.page_key(self.model, said.version, said.window)
        if self.reporter is None or said.report != key:
            return
        before = follow.history.get(said.window - 1)
        usual = before.said.verdict if before is not None and before.said is not None else "none"
        drawn = windows.evidently_key(self.model, said.version, said.window)
        self.reporter.draw(
            self.model,
            follow.reference,
            said.window,
            evidently=said.verdict != usual and not self.store.exists(drawn),
        )

"""Our policy with `opens: drift`: a campaign a drift, its follow-ups, and a pause after a loss, as the hook has it.

What is trained on when, and what judges, comes from the hook's own functions over the rows' times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from trimtab.monitoring.campaign_open import pause
from trimtab.monitoring.choice import Choice, Times, Waiting, choose
from trimtab.monitoring.gain import LEAST, Probe
from trimtab.monitoring.simulate.replay import Course, Setting, probe
from trimtab.monitoring.simulate.stream import Rows
from trimtab.monitoring.simulate.trial import no_worse, ruled
from trimtab.monitoring.simulate.version import Version
from trimtab.monitoring.simulate.watched import Watched
from trimtab.monitoring.verdict import Decision


@dataclass
class _Campaign:
    """An open campaign.

    Attributes:
        change: first row of the new regime, by the change point's lower bound.
        cause: the verdict's.
        windows: cut since it opened.
        retrains: trained so far, each promoted.
        known: rows known at the last of them.
    """

    change: int
    cause: str
    windows: int = 0
    retrains: int = 0
    known: int = 0


class Answering:
    """Who serves, the open campaign, and what the last ones left.

    Args:
        setting: what all policies have in common.
        champion: the first version.
    """

    def __init__(self, setting: Setting, champion: Version) -> None:
        self.setting, self.course = setting, Course(np.zeros(len(setting.stream) - setting.train_rows))
        self.times: Times = setting.stream.times.astype("datetime64[us]")
        self.quick: Probe = probe(setting)
        self.fresh = setting.train_rows
        self.open: _Campaign | None = None
        # Campaigns lost in a row, windows since the last of them, and the last row of what a won one was trained on.
        self.lost, self.since_lost, self.answered = 0, 0, 0
        self._serve(champion)

    def _serve(self, version: Version) -> None:
        self.champion = version
        self.watched = Watched(version, self.setting.windows, self.setting.delay)

    def window(self, start: int, stop: int) -> None:
        """Serve the rows of a window, watch, and answer what it says."""
        first, course = self.setting.train_rows, self.course
        course.losses[start - first : stop - first] = self.champion.losses(np.arange(start, stop))
        said = self.watched.window(start, stop)
        if said.verdict == "drift":
            course.alarms.append(stop)
        self.since_lost += 1
        if stop >= len(self.setting.stream):
            return
        if self.open is not None:
            self.open.windows += 1
        elif said.verdict == "drift" and not self.setting.campaign.paused and not self._refused(said):
            self.open = _Campaign(self._row(said.since.lower) if said.since else start, str(said.cause))
        if self.open is not None:
            self._step(self.open, said, stop)

    def _row(self, moment: int) -> int:
        return int(np.searchsorted(self.setting.stream.times, moment))

    def _refused(self, said: Decision) -> bool:
        if self.lost:
            return self.since_lost < pause(self.lost, self.setting.campaign)
        return bool(self.answered and said.since is not None and self._row(said.since.upper) < self.answered)

    def _step(self, at: _Campaign, said: Decision, stop: int) -> None:
        """Take the campaign's next step, where labels are there for it."""
        policy, known = self.setting.campaign, stop - self.setting.delay
        if not at.retrains and at.windows < policy.debounce_windows:
            return
        if not at.retrains and policy.debounce_windows and said.verdict == "none":
            self._lose()
            return
        if at.retrains:
            wanted = round(policy.follow_up_windows * self.setting.windows.rows)
            if said.verdict == "drift":
                wanted = min(wanted, policy.min_labelled)
            if known - at.known < wanted:
                return
        chosen = self._choose(at, known)
        if chosen is not None:
            self._retrain(at, chosen, stop, known)

    def _choose(self, at: _Campaign, known: int) -> Choice | None:
        """The hook's choice over the labelled rows that the champion was not trained on; None where it waits."""
        change: datetime = self.times[max(at.change, self.fresh)].item()
        labelled = self.times[self.fresh : max(known, self.fresh)]
        found = choose(labelled, change.replace(tzinfo=UTC), self.setting.campaign, at.cause, len(self.champion.rows))
        return None if isinstance(found, Waiting) else found

    def _retrain(self, at: _Campaign, chosen: Choice, stop: int, known: int) -> None:
        setting, course = self.setting, self.course
        cut = self._index(chosen.judge_from)
        rows, name = self._competed(chosen, cut, max(at.change, self.fresh))
        made = setting.version(rows, 1 + len(course.retrains) + 1)
        course.retrains.append(stop)
        if not at.retrains:
            course.campaigns.append(stop)
        at.retrains, at.known = at.retrains + 1, known
        ruling = ruled(made, self.champion, cut, known, setting.rollout, setting.windows.rows)
        why = "a drift" if at.retrains == 1 else f"follow-up {at.retrains - 1}"
        course.notes.append(f"row {stop:,}: {why}; {name}, {len(rows):,} rows; {ruling.why}")
        if ruling.released and no_worse(made, self.champion, cut, known, setting.rollout.margin):
            self.lost, self.answered, self.fresh = 0, known, cut
            self._serve(made)
            course.promoted.append(stop)
            if at.retrains > setting.campaign.follow_ups:
                self.open = None
        elif at.retrains > 1:
            self.open = None  # a follow-up that loses ends a campaign that was won
        else:
            self._lose()

    def _lose(self) -> None:
        self.open, self.lost, self.since_lost = None, self.lost + 1, 0

    def _index(self, moment: datetime) -> int:
        naive = np.datetime64(moment.replace(tzinfo=None), "us")
        return max(self.fresh, int(np.searchsorted(self.times, naive)))

    def _competed(self, chosen: Choice, cut: int, change: int) -> tuple[Rows, str]:
        """The rows to train on, as `competition.competed` chooses them, and in words."""
        start, own = self._index(chosen.since), self.champion.rows
        found = self.quick.gain(own, cut, start, start, change) if cut - start >= 2 * LEAST else None
        if found is not None and not found.stretch.base:
            length = found.stretch.length * self.setting.windows.rows
            first = min(max(start, cut - length) if length else change, cut - 1)
            return np.arange(first, cut), found.stretch.name
        if found is not None or chosen.base:
            return np.union1d(own, np.arange(start, cut)), "everything"
        return np.arange(start, cut), "all since the change"


def drifts(setting: Setting) -> Course:
    """Watch window by window, and answer drifts alone."""
    loop = Answering(setting, setting.version(np.arange(setting.train_rows), 1))
    for start, stop in setting.cuts(setting.windows.rows):
        loop.window(start, stop)
    return loop.course

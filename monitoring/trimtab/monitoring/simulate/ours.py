"""Our policy in a simulation: the watch's verdicts, the choice of data and the judge, as they run beside a server."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trimtab.monitoring import gain
from trimtab.monitoring.campaign_open import pause
from trimtab.monitoring.choice import judge_rows
from trimtab.monitoring.gain import Gain, Stretch
from trimtab.monitoring.pace import Prospect, Purse, due
from trimtab.monitoring.simulate.drifts import drifts
from trimtab.monitoring.simulate.replay import Course, Setting, probe
from trimtab.monitoring.simulate.trial import no_worse, ruled
from trimtab.monitoring.simulate.version import Version
from trimtab.monitoring.simulate.watched import Watched
from trimtab.monitoring.verdict import Decision


@dataclass
class _Serving:
    """Who serves.

    Attributes:
        version: the champion.
        watched: its windows.
        fresh: first row that it was not trained on, nor anything it was chosen by.
        since: windows since it was trained, in rows of a timer's.
        answers: it answered a drift.
    """

    version: Version
    watched: Watched
    fresh: int
    since: float = math.inf
    answers: bool = False


def trimtab(setting: Setting) -> Course:
    """The policy of the `campaign` block: what its `opens` says decides when there is a retrain."""
    return drifts(setting) if setting.campaign.opens == "drift" else gains(setting)


def gains(setting: Setting) -> Course:
    """Watch window by window; retrain when it is due; serve what the judge releases."""
    n, first = len(setting.stream), setting.train_rows
    rows = setting.windows.rows
    course = Course(np.zeros(n - first))
    champion = setting.version(np.arange(first), 1)
    at = _Serving(champion, Watched(champion, setting.windows, setting.delay), first)
    quick, purse = probe(setting), Purse()
    lost, since_lost = 0, 0
    for start, stop in setting.cuts(rows):
        course.losses[start - first : stop - first] = at.version.losses(np.arange(start, stop))
        said = at.watched.window(start, stop)
        if said.verdict == "drift":
            course.alarms.append(stop)
        purse.earn((stop - start) / setting.window, setting.campaign)
        at.since += (stop - start) / setting.window
        since_lost += 1
        known = stop - setting.delay
        if stop >= n or setting.campaign.paused or known - at.fresh < setting.campaign.min_labelled or purse.left < 1:
            continue
        if lost and since_lost < pause(lost, setting.campaign):
            continue
        change = _change(setting, at, said)
        found = quick.gain(at.version.rows, known, first, at.fresh, change)
        why = _why(setting, at, said, found, known, purse)
        if found is None or not why:
            continue
        regime = known - (at.fresh if change is None else change)
        cut = known - judge_rows(max(regime, 2), setting.campaign)
        trained = gain.rows_of(_ending(found.stretch, change, cut, rows), at.version.rows, cut)
        made = setting.version(trained, 1 + len(course.retrains) + 1)
        purse.spend()
        course.retrains.append(stop)
        course.campaigns.append(stop)
        ruling = ruled(made, at.version, cut, known, setting.rollout, rows)
        course.notes.append(f"row {stop:,}: {why}; {found.stretch.name}, {len(trained):,} rows; {ruling.why}")
        if ruling.released and no_worse(made, at.version, cut, known, setting.rollout.margin):
            drift = said.verdict == "drift" or (at.answers and len(trained) < 2 * len(at.version.rows))
            at = _Serving(made, Watched(made, setting.windows, setting.delay), cut, 0.0, drift or at.answers)
            course.promoted.append(stop)
            lost = 0
        else:
            at.since, lost, since_lost = 0.0, lost + 1, 0
    return course


def _change(setting: Setting, at: _Serving, said: Decision) -> int | None:
    """First row of the new regime, where the verdict tells one."""
    if said.verdict != "drift" or said.since is None:
        return None
    return max(at.fresh, int(np.searchsorted(setting.stream.times, said.since.lower)))


def _why(setting: Setting, at: _Serving, said: Decision, found: Gain | None, known: int, purse: Purse) -> str:
    """Why a retrain is due; empty where none is."""
    if found is None:
        return ""
    # Gains are losses saved: for numbers as a part of the champion's own.
    unit = 1.0 if setting.stream.classes else max(found.own, 1e-12)
    size = len(gain.rows_of(found.stretch, at.version.rows, known))
    drift = said.verdict == "drift"
    prospect = Prospect(found.mean / unit, found.z, size, len(at.version.rows), drift, at.answers, at.since)
    return due(purse, prospect, setting.windows.rows, setting.campaign)


def _ending(stretch: Stretch, change: int | None, cut: int, rows: int) -> Stretch:
    """The chosen stretch, which competed as it ended earlier, as it ends at `cut`."""
    if stretch.length:
        return Stretch(max(0, cut - stretch.length * rows), False, stretch.name, stretch.length)
    if not stretch.base and change is not None:
        return Stretch(min(change, cut - 1), False, stretch.name)
    return stretch

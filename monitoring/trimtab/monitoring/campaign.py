"""One step of a campaign: look at what is there, do the one thing that comes next, safe to repeat at any point.

1. debounce: wait for approval, further windows and enough labelled rows; then write down the data of retrain 1.
2. training: start the pipeline run (the launcher knows it again by its key), and wait for it.
3. judging: read evaluate's paired counts and write down who won.
4. releasing: ask for a rollout of the winner, and wait for what the rollout controller makes of it.
5. following: after a promotion, once labels have accumulated, choose data again and go back to 2.
6. close, once; then cooling.

Every effect is a `create` under a key that any rival would choose, and what is on record is read back and gone on
with, so two hooks, or one that is killed anywhere, come to the same end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core import ledger, rollouts, runs
from trimtab.core.errors import StoreError, TrimtabError
from trimtab.core.launch import Launcher, LauncherAway, RetrainRequest
from trimtab.core.records import create_record, parse_time, utcnow
from trimtab.core.sources import resolve
from trimtab.core.store.keys import number
from trimtab.monitoring import campaign_close, campaign_data, judge, windows
from trimtab.monitoring.campaign_budget import spent
from trimtab.monitoring.campaign_close import fate
from trimtab.monitoring.campaign_open import Answer, answer
from trimtab.monitoring.campaign_records import (
    AGAIN,
    DATA,
    JUDGED,
    RUN,
    CampaignState,
    Controls,
    Outcome,
    Retrain,
    all_campaigns,
    control,
    controls,
    newest,
    retrain_folder,
)
from trimtab.monitoring.champion import Published, published
from trimtab.monitoring.choice import Waiting

if TYPE_CHECKING:
    from trimtab.core.store import Store

__all__ = ["Answer", "CampaignState", "answer", "control", "controls", "state", "step", "waiting"]

# A run that died without a result (its machine went away) is taken up again so many times.
RESTARTS = 2
_log = logging.getLogger(__name__)


def state(store: Store, model: str) -> CampaignState | None:
    """The newest campaign with its phase, from records, runs and ledger; None before the first."""
    found = newest(store, model)
    if found is None or found.closed or not found.retrains:
        return found
    last = found.retrains[-1]
    if last.judged is None and last.run is not None and runs.result(store, str(last.run["run_key"])) is not None:
        return replace(found, phase="judging")
    if last.won and fate(store, model, last) == "promoted":
        return replace(found, phase="following")
    return found


@dataclass
class Stepper:
    """What one step works with; everything in it is read anew at each step.

    Attributes:
        store: the store.
        model: the model's name.
        launcher: starts pipeline runs.
        reader: reads the model's log; kept between steps, since files never change.
        now: the clock.
        waiting: what the campaign waits for, in words; set by the step.
    """

    store: Store
    model: str
    launcher: Launcher
    reader: campaign_data.Readers
    now: Callable[[], datetime] = utcnow
    waiting: str = ""

    def step(self) -> list[str]:
        """Take the steps that can be taken now; what was done, in words."""
        done: list[str] = []
        # A campaign has few steps and each leaves a record: far more rounds than that would be a fault.
        for _ in range(20):
            self.waiting = ""
            words = self._once()
            if not words:
                break
            done.append(words)
            _log.info(words, extra={"model": self.model})
        return done

    def _once(self) -> str:
        at = newest(self.store, self.model)
        if at is None or at.closed:
            return ""
        said = controls(self.store, self.model)
        if ended := self._interrupted(at, said):
            return ended
        last = at.retrains[-1] if at.retrains else None
        if last is None:
            return self._debounce(at, said)
        if last.judged is None:
            if last.run is not None:
                return self._follow_run(at, last)
            return self._wait("paused") if said.paused else self._launch(at, last)
        if not last.won:
            return self._lost(at, last, "failed" if last.judged.get("failed") else "rejected", last.judged["why"])
        return self._release(at, last, said)

    def _wait(self, why: str) -> str:
        self.waiting = why
        return ""

    def _interrupted(self, at: CampaignState, said: Controls) -> str:
        """Close a campaign that a person cancelled, or whose champion is no longer the one it was about."""
        why = ""
        if at.n in said.cancelled:
            why = "cancelled by hand"
        else:
            champion = ledger.state(self.store, self.model).champion
            ours = {at.version, *(r.version for r in at.retrains if r.version)}
            if champion not in ours:
                why = f"{champion or 'nothing'} serves now, in place of {at.version}"
        return self._close(at, "cancelled", why) if why else ""

    # -- debounce and follow-ups: choose data --------------------------------------------------------------------

    def _debounce(self, at: CampaignState, said: Controls) -> str:
        about = published(self.store, self.model, at.version)
        if said.paused:
            return self._wait("paused")
        if about.campaign.approval and at.n not in said.approved:
            return self._wait(f"approval: trimtab approve {self.model}")
        verdict = windows.latest(self.store, self.model, at.version)
        passed = verdict.window - int(at.opened["window"]) if verdict else 0
        if passed < about.campaign.debounce_windows:
            return self._wait(f"{passed} of {about.campaign.debounce_windows} further windows")
        passing = about.campaign.debounce_windows and not at.by_gain
        if passing and verdict is not None and verdict.verdict == "none":
            return self._close(at, "cancelled", f"the drift has passed: window {verdict.window} shows none")
        return self._begin(at, 1, about)

    def _begin(self, at: CampaignState, k: int, about: Published) -> str:
        """Choose the data of retrain k and write them down; or say what is waited for."""
        picked = campaign_data.pick(self.store, self.model, at, about, self.reader)
        if isinstance(picked, Waiting):
            if campaign_data.out_of_time(at, about, self.now()):
                return self._close(at, "failed", f"no labels came: {picked.why}") if k == 1 else self._end(at)
            return self._wait(picked.why)
        source = resolve(picked.source, self.store, Path.cwd()).source
        candidates = [about.candidate] if about.campaign.candidates == "champion" and about.candidate else None
        fields = {
            **picked.record,
            "source": source,
            "base_key": about.run_key,
            "seed": 1000 * at.n + k,
            "candidates": candidates,
            "judge_min": campaign_data.judge_min(picked.record["judge_rows"]),
        }
        create_record(self.store, f"{retrain_folder(self.model, at.n, k)}/data.json", DATA, fields)
        return f"campaign {at.n}: retrain {k} is trained on {picked.record['why']}"

    # -- training --------------------------------------------------------------------------------------------------

    def _request(self, at: CampaignState, last: Retrain) -> RetrainRequest:
        names = last.data.get("candidates")
        return RetrainRequest(
            model=self.model,
            base_key=str(last.data["base_key"]),
            data=last.data["source"],
            campaign=at.n,
            retrain=last.k,
            seed=int(last.data["seed"]),
            candidates=tuple(names) if names else None,
        )

    def _launch(self, at: CampaignState, last: Retrain) -> str:
        try:
            key = self.launcher.start(self._request(at, last))
        except (StoreError, LauncherAway):
            raise  # the store or the cluster is away, not the run at fault: the next step tries again
        except TrimtabError as error:
            self._judged(at, last, {"won": False, "failed": True, "why": error.sentence(), "version": None})
            return f"campaign {at.n}: retrain {last.k} could not be started: {error.sentence()}"
        create_record(
            self.store, f"{self._part(at, last)}/run.json", RUN, {"run_key": key, "base_key": last.data["base_key"]}
        )
        return f"campaign {at.n}: retrain {last.k} runs as {key}"

    def _follow_run(self, at: CampaignState, last: Retrain) -> str:
        assert last.run is not None
        key = str(last.run["run_key"])
        how = self.launcher.state(key)
        if how == "running":
            limit = published(self.store, self.model, at.version).campaign.run_hours
            if self.now() - parse_time(str(last.run["written_at"])) <= timedelta(hours=limit):
                return self._wait(f"run {key}")
            why = f"run {key} took longer than `campaign.run_hours`, {limit:g}, and was ended"
            return self._failed(at, last, key, why)
        if how == "cancelled":
            return self._close(at, "cancelled" if last.k == 1 else "promoted", f"run {key} was cancelled")
        if how == "failed":
            return self._failed_run(at, last, key)
        return self._judge(at, last, key)

    def _failed_run(self, at: CampaignState, last: Retrain, key: str) -> str:
        said = runs.errors(self.store, key)
        ended = runs.newest(self.store, key)
        if not said and ended is not None and ended.error and ended.error.get("stuck"):
            said = [ended.error]  # its pods could not start: another run of the same would stand there, too
        if not said and last.again < RESTARTS:
            # No stage says what was wrong: the run was killed. It goes on where it stopped.
            path = f"{self._part(at, last)}/again-{number(last.again + 1)}.json"
            self.launcher.start(self._request(at, last))
            create_record(self.store, path, AGAIN, {"run_key": key})
            return f"campaign {at.n}: run {key} died and is taken up again"
        why = str(said[-1]["message"]) if said else f"run {key} died {last.again + 1} times without a result"
        return self._failed(at, last, key, why)

    def _failed(self, at: CampaignState, last: Retrain, key: str, why: str) -> str:
        self._judged(at, last, {"won": False, "failed": True, "why": why, "version": None, "run_key": key})
        return f"campaign {at.n}: retrain {last.k} failed: {why}"

    # -- judging ---------------------------------------------------------------------------------------------------

    def _judge(self, at: CampaignState, last: Retrain, key: str) -> str:
        result = runs.result(self.store, key) or {}
        version = result.get("version")
        won, why = False, ""
        paired: dict[str, Any] | None = None
        now = ledger.state(self.store, self.model)
        figures = result.get("figures") or {}
        if not version:
            why = f"run {key} has published no version"
        elif not figures.get("passed", True):
            why = campaign_data.missed_gates(figures)
        elif version == now.champion:
            why = "training gave the champion again"
        elif version in now.rolled_back:
            why = f"{version} was taken back before: trimtab promote {self.model} {version}"
        else:
            paired = campaign_data.paired(self.store, key, str(result.get("winner", "")))
            about = published(self.store, self.model, at.version)
            if paired and paired.get("against") not in {None, "", last.data.get("against")}:
                why = f"it was compared with {paired['against']}, not with {last.data.get('against')}"
            else:
                policy = about.rollout.sized(about.windows.rows)
                ruling = judge.challenger(paired, policy, int(last.data["judge_min"]))
                won, why = ruling.released, ruling.why
        self._judged(
            at,
            last,
            {
                "won": won,
                "failed": False,
                "why": why,
                "version": version,
                "run_key": key,
                "figures": paired,
                "against": last.data.get("against"),
                "ledger_seq": now.seq,
            },
        )
        return f"campaign {at.n}: {version} {'wins' if won else 'loses'}: {why}"

    def _judged(self, at: CampaignState, last: Retrain, fields: dict[str, Any]) -> None:
        create_record(self.store, f"{self._part(at, last)}/judged.json", JUDGED, fields)

    # -- releasing and following -----------------------------------------------------------------------------------

    def _release(self, at: CampaignState, last: Retrain, said: Controls) -> str:
        assert last.judged is not None
        assert last.version is not None
        came = fate(self.store, self.model, last)
        if came == "promoted":
            return self._following(at, last, said)
        if came:
            return self._lost(at, last, "rejected", came)
        key = str(last.judged["run_key"])
        asked = [r for r in rollouts.requests(self.store, self.model) if (r.campaign, r.run_key) == (at.n, key)]
        if asked:
            return self._wait(f"rollout {asked[-1].n} of {last.version}")
        if said.paused:
            return self._wait("paused")
        n = rollouts.request(
            self.store,
            self.model,
            last.version,
            kind="serve",
            who="hook",
            why=f"campaign {at.n}: {last.judged['why']}",
            campaign=at.n,
            run_key=key,
        )
        return f"campaign {at.n}: asks for rollout {n} of {last.version}"

    def _following(self, at: CampaignState, last: Retrain, said: Controls) -> str:
        assert last.version is not None
        about = published(self.store, self.model, last.version)
        if last.k > about.campaign.follow_ups:
            return self._end(at)
        others = all_campaigns(self.store, self.model)
        if spent(self.store, others, about.campaign, self.now()).over(about.campaign) or about.campaign.paused:
            return self._end(at)
        if said.paused:
            return self._wait("paused")
        verdict = windows.latest(self.store, self.model, last.version)
        again = verdict is not None and verdict.verdict == "drift"
        due = campaign_data.follow_up_due(self.store, self.model, last, about, self.reader, again)
        if due is not None:
            if campaign_data.out_of_time(at, about, self.now(), last):
                return self._end(at)
            return self._wait(due)
        return self._begin(at, last.k + 1, about)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _lost(self, at: CampaignState, last: Retrain, outcome: Outcome, why: str) -> str:
        if any(r.won and fate(self.store, self.model, r) == "promoted" for r in at.retrains[: last.k - 1]):
            return self._close(at, "promoted", f"follow-up {last.k - 1} did not win: {why}")
        return self._close(at, outcome, why)

    def _end(self, at: CampaignState) -> str:
        good = [str(r.version) for r in at.retrains if r.won]
        return self._close(at, "promoted", f"{good[-1]} serves")

    def _close(self, at: CampaignState, outcome: Outcome, why: str) -> str:
        # No run goes on for a campaign that is over; one that has ended is left alone.
        for key in (str(r.run["run_key"]) for r in at.retrains if r.run is not None and r.version is None):
            if self.launcher.state(key) == "running":
                self.launcher.cancel(key)
        return campaign_close.close(self.store, self.model, at, outcome, why)

    def _part(self, at: CampaignState, last: Retrain) -> str:
        return retrain_folder(self.model, at.n, last.k)


def step(store: Store, model: str, launcher: Launcher, now: Callable[[], datetime] = utcnow) -> list[str]:
    """Take the steps that the model's campaign can take now.

    Returns:
        What was done, in words; empty where the campaign waits or none is open.
    """
    return Stepper(store, model, launcher, campaign_data.Readers(), now).step()


def waits_for_approval(store: Store, model: str, at: CampaignState) -> bool:
    """Whether a person has to approve an open campaign before it trains."""
    asked = at.phase == "debounce" and at.n not in controls(store, model).approved
    return asked and published(store, model, at.version).campaign.approval


def waiting(store: Store, model: str, at: CampaignState) -> str:
    """What an open campaign waits for as far as the records tell, for people."""
    if controls(store, model).paused:
        return "paused"
    if waits_for_approval(store, model, at):
        return f"approval: trimtab approve {model}"
    return {
        "debounce": "labelled rows of the new regime",
        "training": "its pipeline run",
        "judging": "the judge",
        "releasing": "the canary",
        "following": "labels for the follow-up",
    }.get(at.phase, "")

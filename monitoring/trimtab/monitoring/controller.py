"""The rollout controller: folds requests, refusals and evidence, asks the judge, and appends to the ledger.

It keeps nothing in memory. Each decision rests on one fold of the ledger and is appended behind it; where somebody
else appended first it folds and decides again. In order: what a person asked for by hand; the newest request to
serve, whatever is older being superseded; the canary that runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trimtab.core import ledger, rollouts
from trimtab.core.errors import NotFound, TrimtabError
from trimtab.core.records import utcnow
from trimtab.monitoring import evidence, judge
from trimtab.monitoring.actuators import Actuator
from trimtab.monitoring.campaign_data import Readers
from trimtab.monitoring.campaign_records import controls, fold, folder
from trimtab.monitoring.champion import Published, published
from trimtab.monitoring.replay import Replays

if TYPE_CHECKING:
    from trimtab.core.policies import Plan
    from trimtab.core.rollouts import Request
    from trimtab.core.store import Store

WHO = "controller"
_log = logging.getLogger(__name__)


@dataclass
class Controller:
    """Steps one model's rollouts.

    Attributes:
        store: the store.
        model: the model's name.
        actuator: the place where versions serve; None for a command that appends what needs no evidence.
        readers: the logs' readers, kept between steps.
        now: the clock.
        replays: answers the log with both versions; kept between steps, so that each row is answered once.
    """

    store: Store
    model: str
    actuator: Actuator | None
    readers: Readers
    now: Callable[[], datetime] = utcnow
    replays: Replays = field(default_factory=Replays)

    def step(self) -> list[str]:
        """Decide what can be decided now; what was appended, in words."""
        done: list[str] = []
        for _ in range(50):
            words = self._once()
            if words is None:
                break
            if words:
                done.append(words)
                _log.info(words, extra={"model": self.model})
        if self.actuator is not None:
            self.actuator.act(self.model, ledger.state(self.store, self.model))
        return done

    def _once(self) -> str | None:
        """One decision: its words, empty where somebody else was faster, None where there is nothing to decide."""
        entries = ledger.read(self.store, self.model)
        state = ledger.fold(entries)
        asked = rollouts.requests(self.store, self.model)
        waiting = [r for r in asked if not rollouts.is_decided(r, entries)]
        for one in waiting:
            if one.kind == "promote":
                return self._promote(state, one)
            if one.kind == "rollback":
                return self._roll_back(state, one)
        by_hand = max((r.n for r in asked if r.kind != "serve"), default=0)
        serve = [r for r in waiting if r.kind == "serve"]
        live = serve[-1] if serve and serve[-1].n > by_hand else None
        if self.actuator is None:
            first = live is not None and state.champion is None
            return self._serve(state, entries, live) if live is not None and first else None
        for one in serve:
            if one is not live:
                why = f"superseded by request {live.n if live else by_hand}"
                return self._settle(state, one, why)
        if live is not None:
            return self._serve(state, entries, live)
        return self._champion_refused(state, entries)

    # -- what a person asked for ------------------------------------------------------------------------------------

    def _promote(self, state: ledger.State, one: Request) -> str:
        if self._about(one.version) is None:
            return self._append(state, "rejected", one.version, one, "no such version is published")
        for other in _tried(state, one.version):
            return self._append(state, "rejected", other, one, f"superseded: {one.version} was promoted by hand")
        return self._append(state, "promoted", one.version, one, one.why, who=one.who)

    def _roll_back(self, state: ledger.State, one: Request) -> str:
        for other in _tried(state, one.version):
            return self._append(state, "rejected", other, one, f"superseded: {one.version} was rolled back")
        if one.version == state.champion and state.before(one.version) is None:
            return self._append(state, "promoted", one.version, one, "it stays: there is no version to return to")
        return self._append(state, "rolled_back", one.version, one, one.why, who=one.who)

    # -- requests to serve ------------------------------------------------------------------------------------------

    def _settle(self, state: ledger.State, one: Request, why: str) -> str:
        """Decide a request that asks for nothing any more."""
        if one.version == state.champion:
            return self._append(state, "promoted", one.version, one, "serves already")
        return self._append(state, "rejected", one.version, one, why)

    def _serve(self, state: ledger.State, entries: list[ledger.Entry], one: Request) -> str | None:
        about = self._about(one.version)
        if about is None:
            return self._append(state, "rejected", one.version, one, "no such version is published")
        if one.version == state.champion:
            return self._settle(state, one, "")
        if one.version in state.rolled_back:
            why = f"it was taken back before; `trimtab promote {self.model} {one.version}` brings it back"
            return self._append(state, "rejected", one.version, one, why)
        if one.campaign is not None and self._cancelled(one.campaign):
            return self._append(state, "rejected", one.version, one, f"campaign {one.campaign} was cancelled")
        if not any(e.version == one.version for e in entries):
            return self._append(state, "published", one.version, one, one.why, who=one.who)
        if state.champion is None:
            return self._append(state, "promoted", one.version, one, "the first version that passes its gates")
        plan = about.rollout.sized(about.windows.rows)
        assert self.actuator is not None
        cannot = self.actuator.cannot_split(self.model)
        if about.rollout.strategy == "replace" or not plan.shares or cannot:
            if not self.actuator.judges_replacements:
                return self._append(state, "promoted", one.version, one, f"replaces at once: {one.why}")
            plan = replace(plan, shares=())
        for other in _tried(state, one.version):
            return self._append(state, "rejected", other, one, f"superseded by {one.version}")
        if one.version not in (state.canary, state.shadow):
            why = one.why + (f"; replaces, judged by a replay of the log: {cannot}" if cannot else "")
            return self._append(state, "shadowed", one.version, one, why.removeprefix("; "))
        return self._try(state, entries, one, about, plan)

    def _try(
        self, state: ledger.State, entries: list[ledger.Entry], one: Request, about: Published, plan: Plan
    ) -> str | None:
        """Judge the version that is in the shadow or answers a share."""
        assert state.champion is not None
        assert self.actuator is not None
        ours = [e for e in entries if e.version == one.version and e.seq > one.after_seq]
        begun = [e for e in ours if e.event in {"shadowed", "canaried"}]
        known = int((begun[0].evidence or {}).get("refusals") or 0)
        refused = self._refusals(one.version)
        if len(refused) > known:
            return self._append(state, "refused", one.version, one, refused[-1])
        if trouble := self.actuator.troubles(self.model).get(one.version):
            return self._append(state, "refused", one.version, one, f"its pods do not serve: {trouble}")
        counted = self.actuator.failures(self.model)
        champion = published(self.store, self.model, state.champion)
        source = evidence.Source(
            self.store,
            self.model,
            self.readers.of(self.store, self.model, about),
            self.replays.of(self.store, self.model),
        )
        figures = evidence.gather(source, about, champion, begun, self.now(), counted)
        if judge.canary(figures, plan).move == "wait":
            return None
        # Figures are frozen before they are judged: what the ledger points at is what was decided on.
        k = len(rollouts.evidence(self.store, self.model, one.n)) + 1
        rollouts.write_evidence(self.store, self.model, one.n, k, figures.record())
        frozen = rollouts.evidence(self.store, self.model, one.n)[k - 1]
        decision = judge.canary(judge.Figures.from_record(frozen.figures), plan)
        facts: dict[str, Any] = {"key": frozen.key, "digest": frozen.digest}
        if decision.move == "back":
            facts |= {"undecided": True} if decision.undecided else {}
            return self._append(state, "rejected", one.version, one, decision.why, facts=facts)
        if decision.move == "raise":
            facts |= {"step": decision.step, "counted": {v: list(c) for v, c in counted.items()}}
            percent = plan.shares[decision.step]
            return self._append(state, "canaried", one.version, one, decision.why, percent=percent, facts=facts)
        if decision.move == "promote":
            return self._append(state, "promoted", one.version, one, decision.why, facts=facts)
        return None

    def _champion_refused(self, state: ledger.State, entries: list[ledger.Entry]) -> str | None:
        """Go back one version where a server refuses what was promoted last; once, never down a whole history."""
        last = entries[-1] if entries else None
        if last is None or last.event != "promoted" or last.version != state.champion:
            return None
        refused = self._refusals(last.version)
        trouble = self.actuator.troubles(self.model).get(last.version) if self.actuator is not None else None
        if trouble and state.before(last.version) is not None:
            return self._append(state, "refused", last.version, None, f"its pods do not serve: {trouble}")
        if len(refused) <= int((last.evidence or {}).get("refusals") or 0) or state.before(last.version) is None:
            return None
        return self._append(state, "refused", last.version, None, refused[-1])

    # -- small things -----------------------------------------------------------------------------------------------

    def _about(self, version: str) -> Published | None:
        try:
            return published(self.store, self.model, version)
        except NotFound:
            return None
        except TrimtabError as error:
            _log.warning(error.sentence(), extra={"model": self.model})
            return None

    def _cancelled(self, campaign: int) -> bool:
        if campaign in controls(self.store, self.model).cancelled:
            return True
        found = fold(self.store, self.model, campaign, self.store.list(folder(self.model, campaign) + "/"))
        return found is not None and found.outcome == "cancelled"

    def _refusals(self, version: str) -> list[str]:
        found = sorted(rollouts.refusals(self.store, self.model, version), key=lambda r: r.at)
        return [f"{r.server} refuses it: {r.reason}" for r in found]

    def _append(
        self,
        state: ledger.State,
        event: str,
        version: str,
        one: Request | None,
        why: str,
        *,
        who: str = WHO,
        percent: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> str:
        basis: dict[str, Any] = {"refusals": len(self._refusals(version)), **(facts or {})}
        if one is not None:
            basis["request"] = one.n
        after = ledger.append(
            self.store, self.model, event, version, expect=state, who=who, why=why, percent=percent, evidence=basis
        )
        share = f" at {percent} %" if percent else ""
        return f"{version} {event.replace('_', ' ')}{share}: {why}" if after is not None else ""


def _tried(state: ledger.State, version: str) -> list[str]:
    """The versions that are tried at this moment, but for one."""
    return [v for v in (state.canary, state.shadow) if v not in (None, version)]


def step(store: Store, model: str, actuator: Actuator) -> list[str]:
    """Decide what can be decided now.

    Returns:
        What was appended to the ledger, in words.
    """
    return Controller(store, model, actuator, Readers()).step()


def append_without_evidence(store: Store, model: str) -> list[str]:
    """Append what needs no evidence (the first promotion, a rollback, a promotion by hand), where no hook answers.

    Returns:
        What was appended, in words; the rest waits for a hook.
    """
    return Controller(store, model, None, Readers()).step()

"""What the demo reads from the store while it replays: verdicts, alarms, campaigns, versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.core import ledger
from trimtab.core.records import parse_time, read_record
from trimtab.core.store import Store
from trimtab.demo.alerting import Alerting
from trimtab.monitoring import campaign, windows
from trimtab.monitoring.campaign_records import CampaignState, all_campaigns

POLL_SECONDS = 0.05
# An alarm is answered within a few seconds; past this the replay goes on.
ALARM_SECONDS = 15.0
# A verdict comes within a second or two; past this the replay goes on and the window says so.
VERDICT_SECONDS = 45.0
# An answer to an alarm takes well under a minute; past this something is wrong and the replay goes on.
CAMPAIGN_SECONDS = 240.0
# Phases in which a retraining is under way that will end by itself, with no further data.
HOLDING = frozenset({"training", "judging", "releasing"})
# How often Alertmanager must have told the hook about a verdict before no campaign means a refusal.
TOLD = 2
# A campaign that has just opened says `debounce` for a moment; one that stays there waits for labels or for a person.
DEBOUNCE_SECONDS = 3.0
# A version answers the log in the shadow within a second or two; one that stays there looks worse so far.
SHADOW_SECONDS = 5.0


@dataclass(frozen=True)
class Alarm:
    """One alarm that the watch posted, with the hook's answer."""

    version: str
    window: int
    at: float
    campaign: int | None
    reason: str
    trigger: str = ""


class Follower:
    """Reads one model's state.

    Args:
        store: the demo's store.
        model: the model's name.
        window_rows: rows of a window of the watch.
        ready: whether the server answers with a version now.
        check: raises when one of the processes has died.
        alerting: Prometheus and Alertmanager where they stand between watch and hook; None where the watch posts.
    """

    def __init__(
        self,
        store: Store,
        model: str,
        window_rows: int,
        ready: Callable[[str], bool],
        check: Callable[[], None],
        alerting: Alerting | None = None,
    ) -> None:
        self.store = store
        self.model = model
        self.window_rows = window_rows
        self.ready = ready
        self.check = check
        self.alerting = alerting

    def state(self) -> ledger.State:
        """The versions as the ledger has them now."""
        return ledger.state(self.store, self.model)

    def wait_for_verdict(self, answered: Mapping[str, int]) -> windows.Verdict | None:
        """Wait until every whole window of the champion has a verdict that counts all its labels.

        Args:
            answered: rows answered so far by version, all of them labelled.

        Returns:
            The champion's newest verdict; None where it has no whole window yet or none came in time.
        """
        end = time.monotonic() + VERDICT_SECONDS
        while True:
            champion = self.state().champion
            if champion is None:
                return None
            whole = answered.get(champion, 0) // self.window_rows
            verdicts = windows.verdicts(self.store, self.model, champion)
            done = sum(1 for v in verdicts if v.labelled >= v.rows)
            if done >= whole or time.monotonic() > end:
                return verdicts[-1] if verdicts else None
            self.check()
            time.sleep(POLL_SECONDS)

    def wait_for_alarm(self, verdict: windows.Verdict) -> Alarm | None:
        """The hook's answer to a `drift` verdict, once it was told; None where no answer comes, or a refusal."""
        if self.alerting is not None:
            return self._wait_for_campaign(verdict, self.alerting)
        end = time.monotonic() + ALARM_SECONDS
        while time.monotonic() < end:
            found = [a for a in self.alarms(verdict.version) if a.window == verdict.window]
            if found:
                return found[-1]
            self.check()
            time.sleep(POLL_SECONDS)
        return None

    def _wait_for_campaign(self, verdict: windows.Verdict, alerting: Alerting) -> Alarm | None:
        """The campaign that is open once Alertmanager has told the hook; what the hook refuses leaves no record."""
        end = time.monotonic() + ALARM_SECONDS
        before: int | None = None
        while time.monotonic() < end:
            now = self.campaign()
            if now is not None and not now.closed:
                return self._opening(now)
            if before is None and alerting.nudging(verdict.version):
                before = alerting.posts()
            elif before is not None and alerting.posts() >= before + TOLD:
                return None
            self.check()
            time.sleep(2 * POLL_SECONDS)
        return None

    def _opening(self, campaign: CampaignState) -> Alarm:
        at = parse_time(campaign.opened["written_at"]).timestamp()
        return Alarm(campaign.version, int(campaign.opened["window"]), at, campaign.n, "", trigger(campaign))

    def alarms(self, version: str) -> list[Alarm]:
        """All alarms about a version, oldest first; those that Alertmanager sent as far as a campaign answered."""
        if self.alerting is not None:
            return [self._opening(c) for c in self.campaigns() if c.version == version]
        triggers = {c.n: trigger(c) for c in self.campaigns()}
        found = []
        for key in self.store.list(f"windows/{self.model}/{version}/"):
            folder, name = key.rsplit("/", 1)
            if name.startswith("alarm-"):
                record = read_record(self.store, key, "alarm")
                found.append(
                    Alarm(
                        version,
                        int(folder.rsplit("/", 1)[1]),
                        parse_time(record["written_at"]).timestamp(),
                        record.get("campaign"),
                        record.get("reason") or "",
                        triggers.get(record.get("campaign") or 0, ""),
                    )
                )
        return sorted(found, key=lambda a: a.at)

    def campaign(self) -> CampaignState | None:
        """The newest campaign; None before the first."""
        return campaign.state(self.store, self.model)

    def campaigns(self) -> list[CampaignState]:
        """All campaigns, oldest first."""
        return all_campaigns(self.store, self.model)

    def hold_for_campaign(self, number: int) -> None:
        """Wait until a campaign's first new version answers as canary, or the campaign closes without one.

        Args:
            number: the campaign that the alarm opened.
        """
        served = self.state()
        start = time.monotonic()
        shadowed = 0.0
        while time.monotonic() < start + CAMPAIGN_SECONDS:
            self.check()
            now = self.campaign()
            if now is None or now.n != number or now.closed:
                return
            early = now.phase == "debounce" and time.monotonic() < start + DEBOUNCE_SECONDS
            if now.phase not in HOLDING and not early:
                return
            state = self.state()
            new = state.canary or (state.champion if state.champion != served.champion else None)
            if new is not None and self.ready(new):
                return
            # In the shadow it waits for more labelled rows, and those come with the next windows.
            shadowed = (shadowed or time.monotonic()) if state.shadow else 0.0
            if shadowed and time.monotonic() > shadowed + SHADOW_SECONDS:
                return
            time.sleep(2 * POLL_SECONDS)

    def events(self) -> list[dict[str, Any]]:
        """The ledger as plain rows: event, version, time."""
        return [
            {"event": e.event, "version": e.version, "at": e.at, "why": e.why}
            for e in ledger.read(self.store, self.model)
        ]


def trigger(campaign: CampaignState) -> str:
    """The alert that opened a campaign and who raised it, e.g. `TrimtabDrift (Prometheus)`."""
    said, colon, _ = str(campaign.opened.get("why") or "").partition(": ")
    return said if colon else ""

"""A campaign's page: what opened it, what it tried on which data, how that was judged, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab.monitoring import campaign
from trimtab.monitoring.campaign_records import CampaignState, Retrain, all_campaigns, folder
from trimtab.monitoring.markup import Safe, document, link, listing, moment, table, text

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Of records, what every record has and no reader looks for.
FORMAL = {"schema", "writer", "nonce"}


def campaign_page(store: Store, model: str, n: int) -> str | None:
    """The page of a campaign; None where there is none of that number."""
    found = next((c for c in all_campaigns(store, model) if c.n == n), None)
    if found is None:
        return None
    if not found.closed:
        # What runs and ledger add to the records: an open campaign may be following a promoted version.
        now = campaign.state(store, model)
        found = now if now is not None and now.n == n else found
    parts = [
        f"<p>{link(f'/campaigns/{model}/', 'All campaigns')}</p>",
        table(["", ""], _facts(store, found)),
        f"<p>{text(found.opened.get('words', ''))}</p>",
    ]
    if isinstance(found.opened.get("compared"), Mapping):
        parts.append(_record("What was compared", found.opened["compared"]))
    for retrain in found.retrains:
        parts += [f"<h2>Retrain {retrain.k}</h2>", table(["", ""], _retrain(retrain)), *_details(retrain)]
    keys = list(store.list(f"{folder(model, n)}/"))
    parts.append(f"<h2>Records</h2>{listing(keys, folder(model, n))}")
    return document(f"{model}: campaign {n}", "".join(parts))


def _facts(store: Store, found: CampaignState) -> list[list[object]]:
    opened = found.opened
    gain = f"data that would answer better than those of {found.version}"
    facts: list[list[object]] = [
        ["State", found.outcome if found.closed else found.phase],
        ["Answers", gain if found.by_gain else f"the drift of {found.version}"],
        ["Opened", moment(opened["written_at"])],
    ]
    if opened.get("why"):
        facts.append(["Opened by", opened["why"]])
    if opened.get("window") is not None:
        window = opened["window"]
        facts.append(["Window", link(f"/windows/{found.model}/{found.version}/{window}", window)])
    since = opened.get("since")
    if isinstance(since, Mapping):
        facts.append(
            [
                "Drift began",
                f"{moment(since.get('point'))} ({moment(since.get('lower'))} to {moment(since.get('upper'))})",
            ]
        )
    if found.closed:
        facts.extend([["Closed", moment(found.closing["written_at"])], ["Why", found.why]])
    else:
        facts.append(["In this phase since", moment(found.phase_since.isoformat())])
        facts.append(["Waits for", campaign.waiting(store, found.model, found)])
    return facts


def _retrain(retrain: Retrain) -> list[list[object]]:
    rows: list[list[object]] = [["Data chosen", moment(retrain.data.get("written_at"))]]
    if retrain.run:
        rows += [["Pipeline run", retrain.run["run_key"]], ["Started", moment(retrain.run.get("written_at"))]]
    if retrain.again:
        rows.append(["Taken up again", f"{retrain.again} times, after it died"])
    if retrain.judged:
        rows += [
            ["Judged", moment(retrain.judged.get("written_at"))],
            ["Version", retrain.version],
            ["Released", "yes" if retrain.won else "no"],
            ["Why", retrain.judged.get("why", "")],
        ]
    return rows


def _details(retrain: Retrain) -> list[str]:
    said = (("The data", retrain.data), ("The judgement", retrain.judged))
    return [_record(title, record) for title, record in said if record]


def _record(title: str, record: Mapping[str, Any]) -> Safe:
    shown = json.dumps({k: v for k, v in record.items() if k not in FORMAL}, indent=1, ensure_ascii=False)
    return Safe(f"<details><summary>{text(title)}</summary><pre>{text(shown)}</pre></details>")

"""What the hook shows people, from the store alone: models, windows, campaigns, reports, and the way between them.

At night nobody has a key to the bucket: alerts and dashboards lead here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trimtab.core import bundle, ledger
from trimtab.core.errors import NotFound
from trimtab.core.records import rfc3339
from trimtab.core.store.keys import MOST_NUMBER, is_key, number
from trimtab.monitoring import windows
from trimtab.monitoring.campaign_records import all_campaigns, controls
from trimtab.monitoring.campaign_story import campaign_page
from trimtab.monitoring.markup import Safe, amount, document, level, link, listing, moment, table, text
from trimtab.monitoring.overview import event_words, overview
from trimtab.monitoring.places import read_place

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.windows import Verdict

# Windows shown in a list, the newest first.
SHOWN = 100


def page(store: Store, kind: str, rest: str) -> str | None:
    """The page of an address `/<kind>/<rest>`; None where it names a file, or nothing.

    Args:
        store: what is read.
        kind: `windows`, `campaigns` or `reports`.
        rest: model, version and number, as far as they are given.
    """
    parts = [part for part in rest.split("/") if part]
    if not is_key("/".join([kind, *parts])):
        return None
    if not parts:
        return index(store, kind)
    model, *more = parts
    if kind == "reports":
        return reports_page(store, "/".join(parts)) if rest.endswith("/") else None
    if model not in bundle.list_models(store):
        return None
    if kind == "campaigns":
        if not more:
            return campaigns_page(store, model)
        return campaign_page(store, model, int(more[0])) if len(more) == 1 and is_number(more[0]) else None
    if not more:
        return windows_page(store, model)
    if len(more) == 1:
        return windows_page(store, model, more[0])
    return window_page(store, model, more[0], int(more[1])) if len(more) == 2 and is_number(more[1]) else None


def index(store: Store, kind: str) -> str:
    """What there is of a kind: a line a model, of reports a line a folder."""
    names = bundle.list_models(store)
    if kind == "reports":
        names = sorted({key.split("/")[1] for key in store.list("reports/") if key.count("/") > 1})
    return document(kind.capitalize(), table(["Of"], ([link(f"/{kind}/{name}/", name)] for name in names)))


def is_number(words: str) -> bool:
    """Whether a part of an address is a number that a record may have."""
    return words.isdigit() and int(words) <= MOST_NUMBER


def home(store: Store, models: list[str]) -> str:
    """One row a model: who serves, the newest verdict, the campaign."""

    def rows() -> Iterator[list[object]]:
        for model in models:
            found = overview(store, model)
            seen, tried = found["windows"], found["campaigns"]
            newest = next((w for w in reversed(seen) if w["version"] == found["champion"]), None)
            canary = f"{found['canary']} ({found['canary_percent']} %)" if found["canary"] else ""
            words: object = "no window yet"
            if newest is not None:
                address = f"/windows/{model}/{newest['version']}/{newest['window']}"
                words = Safe(f"{level(newest['verdict'])} {link(address, 'window ' + str(newest['window']))}")
            campaign: object = "paused" if found["paused"] else ""
            if tried:
                last = tried[-1]
                campaign = link(
                    f"/campaigns/{model}/{last['campaign']}", f"{last['campaign']}: {last['outcome'] or last['phase']}"
                )
            yield [
                model,
                found["champion"] or "nothing yet",
                canary,
                words,
                campaign,
                Safe(f"{link(f'/windows/{model}/', 'windows')} · {link(f'/campaigns/{model}/', 'campaigns')}"),
            ]

    head = ["Model", "Champion", "Canary", "Newest verdict", "Newest campaign", "More"]
    return document("Models", Safe(f"{table(head, rows())}{_places(store, models)}"), home=False)


def _places(store: Store, models: list[str]) -> Safe:
    """What a cluster does with each model, and what somebody changed there by hand; nothing for a single server."""
    told = [(model, found) for model in models if (found := read_place(store, model)) is not None]
    if not told:
        return Safe("")

    def rows() -> Iterator[list[object]]:
        for model, found in told:
            words = [*found["words"], *([f"replaces, since {found['why']}"] if found["why"] else []), *found["by_hand"]]
            yield [model, found["place"], moment(found["written_at"]), "; ".join(words)]

    return Safe(f"<h2>On the cluster</h2>{table(['Model', 'Place', 'Since', 'In words'], rows())}")


def windows_page(store: Store, model: str, version: str = "") -> str:
    """The newest windows of a version, of the champion unless one is named."""
    chosen = version or ledger.state(store, model).champion or ""
    others = sorted({k.split("/")[2] for k in store.list(f"windows/{model}/")} - {chosen}, reverse=True)
    found = windows.verdicts(store, model, chosen)[-SHOWN:] if chosen else []
    rows = (
        [
            link(f"/windows/{model}/{chosen}/{v.window}", v.window),
            level(v.verdict),
            moment(v.last_time),
            f"{v.labelled} of {v.rows}",
            v.words,
        ]
        for v in reversed(found)
    )
    body = table(["Window", "Verdict", "Newest row", "Labelled", "In words"], rows)
    if others:
        body = Safe(f"{body}<h2>Other versions</h2><p>{' · '.join(_version(model, v) for v in others)}</p>")
    return document(f"Windows of {model} {chosen}", f"<p>{link(f'/campaigns/{model}/', 'Campaigns')}</p>{body}")


def window_page(store: Store, model: str, version: str, window: int) -> str | None:
    """One window: the verdict in words, its layers, fields, performance, reports and records."""
    prefix = windows.folder(model, version, window)
    keys = list(store.list(prefix))
    newest = windows.newest(keys, "verdict")
    if not keys:
        return None
    around = [
        link(f"/windows/{model}/{version}/{n}", words)
        for n, words in ((window - 1, "before"), (window + 1, "after"))
        if n and any(True for _ in store.list(windows.folder(model, version, n)))
    ]
    ways = [link(f"/windows/{model}/{version}/", "All windows"), *around, link(f"/campaigns/{model}/", "Campaigns")]
    parts = [f"<p>{' · '.join(ways)}</p>"]
    drawn = list(store.list(f"reports/windows/{model}/{version}/{number(window)}/"))
    if newest is None:
        parts.append("<p>Its rows are fixed; it was not judged yet.</p>")
    else:
        verdict = windows.Verdict.of(_record(store, newest))
        parts += _verdict(verdict)
        if verdict.report and verdict.report not in drawn:
            drawn.append(verdict.report)
    if drawn:
        parts.append(f"<h2>Reports</h2>{listing(drawn)}")
    opened = [_record(store, k) for k in keys if k.rsplit("/", 1)[-1].startswith("alarm-")]
    for answer in opened:
        said = answer.get("reason") or ""
        if answer.get("campaign") is not None:
            said = link(f"/campaigns/{model}/{answer['campaign']}", f"campaign {answer['campaign']}")
        parts.append(f"<p>The alarm of {moment(answer['written_at'])} was answered: {text(said)}</p>")
    parts.append(f"<h2>Records</h2>{listing(keys)}")
    return document(f"{model} {version}, window {window}", "".join(parts))


def _verdict(verdict: Verdict) -> list[str]:
    since = verdict.since or {}
    began = f"{moment(since.get('point'))} (between {moment(since.get('lower'))} and {moment(since.get('upper'))})"
    facts = [
        ["Verdict", level(verdict.verdict)],
        ["Rows", f"{verdict.rows}, {verdict.labelled} with a label"],
        ["From, to", f"{moment(verdict.first_time)}, {moment(verdict.last_time)}"],
        ["Since", began if since else "nothing began"],
        ["Kind of drift", verdict.cause],
        ["Expected extra errors a day", amount(verdict.cost_per_day)],
    ]
    layers = ([name, level(said)] for name, said in verdict.layers.items())
    moved = (
        [f.get("name"), amount(f.get("effect")), f.get("unit"), amount(f.get("p")), f.get("words")]
        for f in verdict.fields
    )
    return [
        f"<p>{text(verdict.words)}</p>",
        table(["", ""], facts),
        "<h2>Layers</h2>",
        table(["Layer", "Says"], layers),
        "<h2>Performance</h2>",
        _performance(verdict.performance),
        "<h2>Fields that moved</h2>",
        table(["Field", "Effect", "Unit", "p", "In words"], moved),
    ]


def _performance(found: Mapping[str, Any]) -> Safe:
    kinds = ((k, found[k]) for k in ("reference", "expected", "realised") if isinstance(found.get(k), Mapping))
    rows = ([k, amount(v.get("value")), amount(v.get("low")), amount(v.get("high"))] for k, v in kinds)
    return table([str(found.get("metric", "")), "value", "low (95 %)", "high (95 %)"], rows)


def campaigns_page(store: Store, model: str) -> str:
    """A model's campaigns, newest first, and its ledger in words."""
    said = controls(store, model)
    rows = (
        [
            link(f"/campaigns/{model}/{c.n}", c.n),
            c.outcome or c.phase,
            moment(c.opened["written_at"]),
            sum(r.run is not None for r in c.retrains),
            c.why or c.opened.get("words", ""),
        ]
        for c in reversed(all_campaigns(store, model))
    )
    paused = f'<p class="bad">Campaigns are paused: {text(said.why)}</p>' if said.paused else ""
    events = ([moment(rfc3339(e.at)), event_words(e), e.who] for e in reversed(ledger.read(store, model)))
    body = [
        f"<p>{link(f'/windows/{model}/', 'Windows')}</p>{paused}",
        table(["Campaign", "State", "Opened", "Retrains", "Why"], rows),
        "<h2>Ledger</h2>",
        table(["When", "What", "Who"], events),
    ]
    return document(f"Campaigns of {model}", "".join(body))


def reports_page(store: Store, prefix: str) -> str | None:
    """The reports below a prefix."""
    found = list(store.list(f"reports/{prefix}/"))
    rows = ([link(f"/{key}", key.removeprefix("reports/"))] for key in found)
    return document(f"Reports of {prefix}", table(["Report"], rows)) if found else None


def _version(model: str, version: str) -> Safe:
    return link(f"/windows/{model}/{version}/", version)


def _record(store: Store, key: str) -> dict[str, Any]:
    try:
        found = json.loads(store.get(key))
    except (NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

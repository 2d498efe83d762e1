"""How a run's end reads: what its stages warned about in the data reaches the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.pipelines.conftest import trimtab

from trimtab.core.store import open_store
from trimtab.pipelines.show import ending, warnings_of

FACTS: dict[str, Any] = {
    "repeated": False, "version": "v1", "model": "m", "winner": "linear", "seconds": 1.0, "key": "k",
    "figures": {"accuracy": 0.9}, "cached": [], "report": "",
}  # fmt: skip


def test_warnings_come_in_the_stages_order_and_once() -> None:
    results: dict[str, dict[str, Any]] = {
        "validate": {"figures": {"warnings": ["b", "a"]}},
        "ingest": {"figures": {"warnings": ["a"]}},
        "select": {"figures": {}},
    }
    assert warnings_of(results) == ["a", "b"]
    assert warnings_of({}) == []


def test_many_warnings_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    ending(FACTS | {"warnings": [f"the field [{n}] was dropped" for n in range(11)]})
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  !")]
    assert shown[0] == "  ! the field [0] was dropped", "as it is, though brackets are markup"
    assert len(shown) == 9
    assert shown[-1].startswith("  ! and 3 more")
    ending(FACTS | {"version": "", "warnings": ["one"]})
    assert "  ! one" in capsys.readouterr().out


@pytest.mark.campaign
def test_a_run_says_what_was_wrong_with_its_data(tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    rows = "".join(f"{i % 2 + i / 100},3,{'ab'[i % 2]}\n" for i in range(60)) + "1.0,3,\n"
    (tmp_path / "rows.csv").write_text("length,constant,species\n" + rows)
    file.write_text(
        "name: warned\ntask: {kind: classification, target: species}\ndata: {source: rows.csv, folds: 2}\n"
        "fields: {length: {kind: number}, constant: {kind: number}}\ncandidates: {linear: {params: {epochs: 4}}}\n"
        "gates: {beats_baseline: false}\n"
    )
    url = (tmp_path / "store").as_uri()
    out, err = trimtab(["run", str(file), "--hold"], url, tmp_path / "home").communicate(timeout=90)
    assert "  ! the field 'constant' was dropped: it is 3 in every row" in out, out + err
    out, err = trimtab(["run", str(file), "--hold", "--json"], url, tmp_path / "home").communicate(timeout=60)
    facts = json.loads(out)
    assert any("1 of 61 rows have no 'species'" in w for w in facts["warnings"]), err
    page = open_store(url).get(f"models/warned/versions/{facts['version']}/report.html").decode()
    assert "About the data" in page
    assert "was dropped: it is 3 in every row" in page

"""Stage deploy: asks once, for what passed, unless the run is held."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.core.bundles import publish, write

from trimtab.core import ledger, rollouts, runs
from trimtab.core.errors import NotFound, ProjectError
from trimtab.core.store import Store
from trimtab.deploy.release import effective
from trimtab.deploy.stage import DeployConfig, deploy

ASK = DeployConfig(model="digits")
RUN = "0123456789abcdef"


@pytest.fixture
def version(store: Store, tmp_path: Path) -> str:
    return publish(store, write(tmp_path / "b"), Ed25519PrivateKey.generate())


def test_what_passed_is_asked_for_once(store: Store, version: str) -> None:
    first = deploy(ASK, version, True, store, "run", RUN)
    assert first.requested == 1
    assert deploy(ASK, version, True, store, "run", RUN).requested == 1
    [asked] = rollouts.requests(store, "digits")
    assert (asked.version, asked.kind, asked.who, asked.run_key) == (version, "serve", "run", RUN)


def test_one_run_asks_once_also_after_the_decision(store: Store, version: str) -> None:
    deploy(ASK, version, True, store, "run", RUN)
    state = ledger.append(store, "digits", "rejected", version, expect=ledger.State(), who="c", why="lost")
    assert state is not None
    assert deploy(ASK, version, True, store, "run", RUN).requested == 1
    assert deploy(ASK, version, True, store, "run", "fedcba9876543210").requested == 2


@pytest.mark.parametrize(("passed", "release", "words"), [(False, "ask", "did not pass"), (True, "hold", "is held")])
def test_what_may_not_serve_is_not_asked_for(
    store: Store, version: str, passed: bool, release: str, words: str
) -> None:
    result = deploy(effective(ASK, store, "", release), version, passed, store, "run", RUN)
    assert result.requested is None
    assert words in result.why
    assert rollouts.requests(store, "digits") == []


def test_what_serves_is_not_asked_for(store: Store, version: str) -> None:
    ledger.append(store, "digits", "promoted", version, expect=ledger.State(), who="c", why="first")
    result = deploy(ASK, version, True, store, "run", RUN)
    assert (result.requested, result.why) == (None, f"{version} serves already")


def test_hold_counts_wherever_it_is_said(store: Store) -> None:
    def opened(release: str) -> str:
        return runs.open_run(store, runs.RunRequest({"name": "digits"}, {}, "d", release=release))  # type: ignore[arg-type]

    ask, hold = opened("ask"), opened("hold")
    assert effective(ASK, store, ask, "ask").release == "ask"
    assert effective(ASK, store, hold, "ask").release == "hold"
    assert effective(ASK, store, ask, "hold").release == "hold"
    assert effective(DeployConfig(model="digits", release="hold"), store, "", "ask").release == "hold"
    with pytest.raises(ProjectError, match="ask or hold"):
        effective(ASK, store, "", "now")


def test_a_version_that_is_not_published_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match="no published version"):
        deploy(ASK, "v1-00000000", True, store, "run", RUN)
    assert list(store.list("")) == []

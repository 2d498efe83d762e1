"""Tokens: made once, stored hashed, reread when the file changes."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.core import settings, tokens
from trimtab.core.errors import ProjectError
from trimtab.core.settings import Settings


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return settings.load({"TRIMTAB_HOME": str(tmp_path / "home")})


def test_a_token_is_made_once_kept_private_and_accepted(own: Settings) -> None:
    token = tokens.ensure_token(own)
    assert tokens.ensure_token(own) == token
    assert stat.S_IMODE(own.token_file.stat().st_mode) == 0o600
    assert token not in own.tokens.read_text()
    assert tokens.TokenFile(own.tokens).accepts(token)
    assert tokens.TokenFile(own.tokens).accepts_header(f"Bearer {token}")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic x", "Bearer wrong", "Bearer \xff", "wrong"])
def test_other_tokens_are_not(own: Settings, header: str) -> None:
    tokens.ensure_token(own)
    assert not tokens.TokenFile(own.tokens).accepts_header(header)


def test_many_at_once_get_the_same_token(own: Settings) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: tokens.ensure_token(own), range(64)))
    assert len(made) == 1
    assert tokens.TokenFile(own.tokens).accepts(made.pop())


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    accepted = tokens.TokenFile(path)
    assert not accepted.accepts("one")
    tokens.accept(path, "one")
    assert accepted.accepts("one")
    tokens.accept(path, "two")
    assert accepted.accepts("one")
    assert accepted.accepts("two")
    path.write_text('{"tokens": []}')
    assert not accepted.accepts("one")
    path.write_text("not json")
    assert not accepted.accepts("two")
    path.unlink()
    assert not accepted.accepts("two")


def test_an_empty_token_or_a_broken_file_is_said(own: Settings) -> None:
    own.token_file.parent.mkdir(parents=True)
    own.token_file.write_text("\n")
    with pytest.raises(ProjectError, match="token file is empty"):
        tokens.ensure_token(own)
    own.token_file.write_text("x\n")
    own.tokens.write_text("[]")
    with pytest.raises(ProjectError, match="not a file of tokens"):
        tokens.ensure_token(own)


def test_a_file_where_nobody_may_write_serves_and_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens.accept(path, "known")
    lock = path.with_name(".tokens.json.lock")
    lock.unlink()
    lock.mkdir()  # what cannot be opened for writing, for root as well
    tokens.accept(path, "known")
    with pytest.raises(ProjectError, match=r"cannot be changed.*TRIMTAB_TOKEN_FILE"):
        tokens.accept(path, "another")
    assert not tokens.TokenFile(path).accepts("another")

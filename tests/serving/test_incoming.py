"""A body behind a known head is read into its place; see `test_bulk` for all else that may happen to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.serving.here import Here, X, cleaned, pieces, request, started, told
from tests.serving.raw import Raw, reset

from trimtab.serving import fast
from trimtab.serving.incoming import ALIGNED, Incoming, place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with started(tmp_path_factory.mktemp("incoming")) as one:
        yield one


@pytest.fixture(autouse=True)
def clean(server: Here, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with cleaned(server, monkeypatch, known=True):
        yield


def reading(server: Here) -> list[int]:
    """Bytes that are in their place, of each connection that reads so."""
    return [one._incoming.size for one in server.open if one._incoming is not None]


def test_pieces_are_read_into_their_place_and_what_follows_is_left(
    server: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast, "SOON", 60.0)
    whole, other = request(), request(X[::-1].copy())
    head = whole.index(b"\r\n\r\n") + 4
    with Raw(server.url) as raw:
        expected = [told(raw.ask(whole)), told(raw.ask(other))]
        rng = np.random.default_rng(0)
        for _ in range(10):
            cuts = sorted({int(cut) for cut in rng.integers(head, len(whole), 3)})
            for cut, start in zip(cuts, (0, *cuts), strict=False):
                raw.send(whole[start:cut])
                server.until(lambda cut=cut: reading(server) == [cut - head])  # type: ignore[misc]
            raw.send(whole[cuts[-1] :] + other + whole[: head + 5])
            assert [told(raw.answer()) for _ in range(2)] == expected
            raw.send(whole[head + 5 :])
            assert told(raw.answer()) == expected[0]
    assert server.app.long == 0


def test_a_head_in_pieces_goes_the_long_way(server: Here) -> None:
    whole = request()
    with Raw(server.url) as raw:
        pieces(raw, server, whole, 30, whole.index(b"\r\n\r\n") + 3, 60_000)
        assert raw.answer()[0] == 200
    assert server.app.long == 1


def test_a_connection_keeps_no_body_that_was_answered(
    server: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast, "SOON", 60.0)
    whole, nan = request(), request(tail=np.where(X[0, 0] == X, np.nan, X).tobytes())
    head = whole.index(b"\r\n\r\n") + 4
    places: list[Incoming] = []
    monkeypatch.setattr(fast, "Incoming", lambda *given: places.append(Incoming(*given)) or places[-1])  # type: ignore[func-returns-value]
    with Raw(server.url) as good, Raw(server.url) as bad, Raw(server.url) as gone:
        pieces(good, server, whole, head + 100)
        assert good.answer()[0] == 200
        pieces(bad, server, nan, head + 100)
        assert bad.answer()[0] == 400
        gone.send(whole[: head + 101])
        server.until(lambda: len(reading(server)) == 1)
        reset(gone)
        server.until(lambda: len(server.open) == 2)
        assert [len(one.body) for one in places] == [0, 0, 0]
    assert server.app.long == 1


@pytest.mark.parametrize(("size", "lead"), [(256_147, 147), (1, 0), (64, 63)])
def test_tensors_begin_where_vector_instructions_read(size: int, lead: int) -> None:
    body = place(size, lead)
    assert len(body) == size
    tail = np.frombuffer(body[lead:], np.uint8)
    assert tail.size == 0 or tail.__array_interface__["data"][0] % ALIGNED == 0
    assert not body.readonly

"""What the place where versions serve says of itself: written by who acts there, read by `status` and the hook's page.

`reports/rollouts/<model>/place.json`, derived and overwritten: nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import NotFound, RecordError
from trimtab.core.records import decode, encode
from trimtab.core.store.keys import check_name

if TYPE_CHECKING:
    from trimtab.core.store import Store

_NOUN = "place"


@dataclass(frozen=True)
class Told:
    """What a place says of a model.

    Attributes:
        place: which, e.g. `KServe, namespace models`.
        strategy: `canary` or `replace`; empty while that is not known.
        why: why it is not `canary`.
        words: what was done last, what is waited for, and why pods do not serve.
        by_hand: what somebody else changed.
        done: whether everything is as the ledger says.
    """

    place: str
    strategy: str = ""
    why: str = ""
    words: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    done: bool = False


def write_place(store: Store, model: str, told: Told) -> None:
    """Write it.

    Raises:
        StoreError: the store did not take it.
    """
    store.put(_key(model), encode(_NOUN, asdict(told)))


def read_place(store: Store, model: str) -> dict[str, Any] | None:
    """What the place said last, and when; None where none ever did, or it cannot be read."""
    try:
        record = decode(store.get(_key(model)), _NOUN, _key(model))
    except (NotFound, RecordError):
        return None
    fields = ("place", "strategy", "why", "words", "by_hand", "done", "written_at")
    return {name: record.get(name) for name in fields}


def _key(model: str) -> str:
    return f"reports/rollouts/{check_name(model)}/place.json"

"""Which store and which model a command is about."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.core.errors import ProjectError
from trimtab.core.settings import Settings, load

if TYPE_CHECKING:
    from trimtab.core.store import Store


def open_model(model: str) -> tuple[Settings, Store, str]:
    """Settings, store and the model's name; an empty name stands for the only model of the store.

    Raises:
        ProjectError: no such model, or the name is needed.
    """
    from trimtab.cli.choose import only_model
    from trimtab.core import bundle
    from trimtab.core.store import open_store

    settings = load()
    store = open_store(settings.store, settings)
    if not model:
        return settings, store, only_model(store)
    known = bundle.list_models(store)
    if model not in known:
        raise ProjectError(
            f"the store has no model {model!r}",
            object=settings.store,
            expected=" or ".join(known) if known else "a store with models (TRIMTAB_STORE)",
        )
    return settings, store, model


def published(store: Store, model: str, version: str, *, or_watched: bool = False) -> str:
    """The version itself, when it is published.

    Args:
        store: where to look.
        model: whose.
        version: as it was typed.
        or_watched: whether windows of it will do, for it outlives its bundle in the records.

    Raises:
        ProjectError: it is not one of the model's.
    """
    from trimtab.core import bundle
    from trimtab.core.store.keys import is_key

    known = bundle.list_versions(store, model)
    folder = f"windows/{model}/{version}"
    seen = or_watched and is_key(folder) and next(iter(store.list(f"{folder}/")), None) is not None
    if version not in known and not seen:
        raise ProjectError(
            f"{model} has no version {version[:80]!r}",
            object=store.url,
            expected=listed(known) if known else "a published version, and there is none",
            hint=f"`trimtab history {model}` shows them",
        )
    return version


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names joined by "or"; of many the last ones.

    >>> listed(["v1-a", "v2-b"]), listed(["a", "b", "c"], most=2)
    ('v1-a or v2-b', 'b or c (and 1 older)')
    """
    older = len(names) - most
    return " or ".join(names[-most:]) + (f" (and {older} older)" if older > 0 else "")


def person() -> str:
    """Who types, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "someone"

"""Which store and which model a command is about."""

from __future__ import annotations

import getpass
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
    from trimtab.core import bundle
    from trimtab.core.store import open_store

    settings = load()
    store = open_store(settings.store, settings)
    known = bundle.list_models(store)
    if model in known:
        return settings, store, model
    if model or len(known) != 1:
        raise ProjectError(
            f"the store has no model {model!r}" if model else "which model is meant?",
            object=settings.store,
            expected=" or ".join(known) if known else "a store with models (TRIMTAB_STORE)",
            hint="trimtab run FILE makes one" if not known else "",
        )
    return settings, store, known[0]


def person() -> str:
    """Who types, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "someone"

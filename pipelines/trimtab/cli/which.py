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


def person() -> str:
    """Who types, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "someone"

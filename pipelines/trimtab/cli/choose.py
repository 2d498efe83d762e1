"""Which model a command means when it is not told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from trimtab.core.store import Store


def only_model(store: Store) -> str:
    """The one model that the store knows.

    Raises:
        ProjectError: it knows none, or several.
    """
    from trimtab.core.bundle import list_models

    known = list_models(store)
    if len(known) == 1:
        return known[0]
    raise ProjectError(
        "which model is meant?",
        object=store.url,
        expected="its name",
        got=f"models {', '.join(known)}" if known else "a store without models",
        hint=f"name one, e.g. {known[0]}" if known else "`trimtab run FILE` makes the first",
    )

"""Checks of plain frozen dataclasses, called by their `__post_init__`: pydantic's are heavier than a server's start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def settle(part: object, name: str, value: object) -> None:
    """Set a value of a frozen dataclass while it is made."""
    object.__setattr__(part, name, value)


def check_texts(part: object, *names: str) -> None:
    """Settings that are texts.

    Raises:
        ValueError: one is something else.
    """
    for name in names:
        if not isinstance(getattr(part, name), str):
            raise ValueError(f"`{name}` is a text, not {getattr(part, name)!r}")


def check_choice(part: object, name: str, options: Sequence[str]) -> None:
    """A setting that is one of some words.

    Raises:
        ValueError: it is none of them.
    """
    if getattr(part, name) not in options:
        raise ValueError(f"`{name}` is one of {', '.join(options)}, not {getattr(part, name)!r}")


def tuple_of(part: object, name: str, kinds: type[T] | tuple[type[Any], ...]) -> tuple[T, ...]:
    """A setting of several values, all of these types.

    Raises:
        ValueError: it is something else.
    """
    values = getattr(part, name)
    if not isinstance(values, (list, tuple)) or any(isinstance(v, bool) or not isinstance(v, kinds) for v in values):
        raise ValueError(f"`{name}` cannot be {values!r}")
    return tuple(values)

"""Reads a command line that is as it should be straight from a command's own annotations.

Typer, and pydantic, through which it reads, are half of a server's start. What is not plainly right (an unknown
option, a value of another type or out of its range, a plea for help) is left to Typer, which says so. Both go by the
same definitions: annotations are texts until they are asked for, and here `typer` in them is `_Typer`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_TYPES = (int, float, str, Path)


class About(NamedTuple):
    """What an annotation says about a parameter."""

    is_option: bool
    flags: tuple[str, ...]
    least: float | None
    most: float | None
    plain: bool


class _Typer:
    """Stands for the module `typer` in annotations."""

    @staticmethod
    def Option(*flags: str, **told: Any) -> About:  # noqa: N802 (its name there)
        return _about(flags, told, is_option=True)

    @staticmethod
    def Argument(**told: Any) -> About:  # noqa: N802
        return _about((), told, is_option=False)


def _about(flags: tuple[str, ...], told: dict[str, Any], *, is_option: bool) -> About:
    return About(is_option, flags, told.get("min"), told.get("max"), plain=set(told) <= {"min", "max", "help"})


def arguments_of(command: Callable[..., None], words: list[str]) -> dict[str, Any] | None:
    """The arguments that words behind a command's name give it; None where Typer should read them.

    >>> def greet(times: "typing.Annotated[int, typer.Option(min=1)]" = 1) -> None: ...
    >>> arguments_of(greet, ["--times", "3"]), arguments_of(greet, ["--times=0"]), arguments_of(greet, ["--tims", "3"])
    ({'times': 3}, None, None)
    """
    options: dict[str, tuple[str, type, About]] = {}
    places: list[tuple[str, type, About]] = []
    for name, (kind, about) in _parameters(command).items():
        if kind is None:
            return None
        if about.is_option:
            options |= dict.fromkeys(_flags(name, kind, about), (name, kind, about))
        else:
            places.append((name, kind, about))
    given: dict[str, Any] = {}
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            if not places:
                return None
            (name, kind, about), value = places.pop(0), word
        elif flag in options:
            name, kind, about = options[flag]
            if kind is bool:
                if equals:
                    return None
                given[name] = not flag.startswith("--no-")
                continue
            if not equals:
                value = next(waiting, "-")
        else:
            return None
        read = _read(value, kind, about)
        if read is None:
            return None
        given[name] = read
    return given


def _parameters(command: Callable[..., None]) -> dict[str, tuple[type | None, About]]:
    """Each parameter's type, None where it is none of the simple ones, and what Typer was told about it."""
    hints = typing.get_type_hints(command, {**command.__globals__, "typer": _Typer}, include_extras=True)
    found: dict[str, tuple[type | None, About]] = {}
    for name in inspect.signature(command).parameters:
        annotation, about = typing.get_args(hints[name])[:2]
        kinds = [annotation]
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        simple = len(kinds) == 1 and kinds[0] in (*_TYPES, bool) and about.plain
        found[name] = (kinds[0] if simple else None, about)
    return found


def _flags(name: str, kind: type, about: About) -> list[str]:
    plain = "--" + name.replace("_", "-")
    declared = [flag for words in about.flags or (plain,) for flag in words.split("/")]
    return [*declared, "--no-" + name.replace("_", "-")] if kind is bool and declared == [plain] else declared


def _read(value: str, kind: type, about: About) -> Any:
    """A value of its type and within its range, or None."""
    if value.startswith("-") or (kind in (int, float) and not value.isascii()):
        return None
    try:
        read = kind(value)
    except ValueError:
        return None
    if kind in (int, float) and not (
        (about.least is None or read >= about.least) and (about.most is None or read <= about.most)
    ):
        return None
    return read

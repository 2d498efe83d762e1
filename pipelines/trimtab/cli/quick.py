"""Reads a command line that is as it should be straight from a command's own annotations.

Typer reads it through pydantic, whose import and adapters are a third of a server's start. What is not plainly right
(an unknown option, a value of another type or out of its range, a plea for help) is left to Typer, which says so; both
go by the same definitions.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

_TYPES = (int, float, str, Path)


def arguments_of(command: Callable[..., None], words: list[str]) -> dict[str, Any] | None:
    """The arguments that words behind a command's name give it; None where Typer should read them.

    >>> from typing import Annotated
    >>> from typer import Option
    >>> def greet(times: Annotated[int, Option(min=1)] = 1) -> None: ...
    >>> arguments_of(greet, ["--times", "3"]), arguments_of(greet, ["--times=0"]), arguments_of(greet, ["--tims", "3"])
    ({'times': 3}, None, None)
    """
    options: dict[str, tuple[str, type, ParameterInfo]] = {}
    places: list[tuple[str, type, ParameterInfo]] = []
    for name, (kind, about) in _parameters(command).items():
        if kind is None:
            return None
        if isinstance(about, ArgumentInfo):
            places.append((name, kind, about))
        for flag in _flags(name, kind, about) if isinstance(about, OptionInfo) else ():
            options[flag] = (name, kind, about)
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


def _parameters(command: Callable[..., None]) -> dict[str, tuple[type | None, ParameterInfo]]:
    """Each parameter's type, None where it is none of the simple ones, and what Typer was told about it."""
    hints = typing.get_type_hints(command, include_extras=True)
    found: dict[str, tuple[type | None, ParameterInfo]] = {}
    for name in inspect.signature(command).parameters:
        annotation, about = typing.get_args(hints[name])[:2]
        kinds = [annotation]
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        simple = len(kinds) == 1 and kinds[0] in (*_TYPES, bool) and not about.callback and not about.envvar
        found[name] = (kinds[0] if simple else None, about)
    return found


def _flags(name: str, kind: type, about: OptionInfo) -> list[str]:
    plain = "--" + name.replace("_", "-")
    declared = [flag for words in about.param_decls or (plain,) for flag in words.split("/")]
    return [*declared, "--no-" + name.replace("_", "-")] if kind is bool and declared == [plain] else declared


def _read(value: str, kind: type, about: ParameterInfo) -> Any:
    """A value of its type and within its range, or None."""
    if value.startswith("-"):
        return None
    try:
        read = kind(value)
    except ValueError:
        return None
    if kind in (int, float) and not (
        (about.min is None or read >= about.min) and (about.max is None or read <= about.max)
    ):
        return None
    return read

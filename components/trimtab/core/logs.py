"""Logs as JSON lines on stderr, with the run, stage and model they belong to."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_ABOUT: ContextVar[Mapping[str, str] | None] = ContextVar("about", default=None)


@contextlib.contextmanager
def about(**fields: str) -> Iterator[None]:
    """Lines logged in this block, by this thread, carry these fields (`model`, for one process of many models)."""
    token = _ABOUT.set({**(_ABOUT.get() or {}), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what `extra` gave, and the fixed context."""

    def __init__(self, context: dict[str, str]) -> None:
        super().__init__()
        self.context = context

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self.context,
            **(_ABOUT.get() or {}),
            **{k: v for k, v in vars(record).items() if k not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def setup(level: str = "INFO", **context: str) -> None:
    """Send this process's `trimtab` logs to stderr as JSON lines.

    Args:
        level: name of the lowest level that is shown.
        context: fields that every line carries (`run`, `stage`, `model`, `process`).
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter({k: v for k, v in context.items() if v}))
    root = logging.getLogger("trimtab")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False

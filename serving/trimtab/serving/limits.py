"""What a project's `serving:` block says about one version: size, waiting, batching, the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trimtab.core.errors import ModelError, RequestError

MB = 1_000_000
# Numbers of the block: their types, least and largest values.
_NUMBERS: tuple[tuple[str, Any, float, float], ...] = (
    ("max_rows", int, 1, 1e9),
    ("max_body_mb", (int, float), 1e-6, 1e6),
    ("latency_ms", (int, float), 1, 1e9),
    ("deadline_ms", (int, float), 1, 1e9),
    ("batch_rows", int, 1, 1e9),
    ("batch_delay_ms", (int, float), 0, 1e9),
)


class Limits(NamedTuple):
    """The `serving:` block of one version, or its defaults.

    Attributes:
        max_rows: most rows in one request.
        body_bytes: largest request body.
        page: whether the page to try the model on is served.
        latency_ms: longest time to an answer at overload; what would wait longer is refused.
        deadline_ms: when a request is given up that names no deadline of its own.
        batch_rows: most rows of a slow model that are run together.
        batch_delay_ms: longest time that a row waits for others to be run with.
        auth: who may ask for predictions, `key`, `open` or `default`; see `keys.key_required`.
    """

    max_rows: int = 1000
    body_bytes: int = 8 * MB
    page: bool = True
    latency_ms: float = 1000
    deadline_ms: float = 30_000
    batch_rows: int = 32
    batch_delay_ms: float = 5
    auth: str = "default"

    def check_rows(self, rows: int, place: str) -> None:
        """Refuse a request with too many rows, before any of them is read.

        Raises:
            RequestError: 413.
        """
        if rows > self.max_rows:
            raise RequestError(
                413,
                "the request has too many rows",
                object=place,
                expected=f"at most {self.max_rows} rows",
                got=f"{rows} rows",
                hint="send them in several requests, or raise `serving: max_rows` in the project file",
            )


def read_limits(project: Mapping[str, Any], version: str) -> Limits:
    """The limits of a version, from the canonical project in its manifest.

    That block was checked (`core.blocks.Serving`) when the project was read and is signed since; here only what
    could stop a server is looked at, because pydantic and the blocks cost more than the rest of a server's start.

    Raises:
        ModelError: its `serving` block cannot be read.
    """
    block = project.get("serving") or {}
    if not isinstance(block, Mapping):
        raise _unreadable(version, block)
    found: dict[str, Any] = {}
    for name, kind, least, most in _NUMBERS:
        value = block.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            raise _unreadable(version, f"{name}: {value!r}")
        found[name] = value
    if isinstance(block.get("page"), bool):
        found["page"] = block["page"]
    if block.get("auth") in {"key", "open"}:
        found["auth"] = block["auth"]
    if "max_body_mb" in found:
        found["body_bytes"] = int(found.pop("max_body_mb") * MB)
    return Limits(**found)


def _unreadable(version: str, got: object) -> ModelError:
    return ModelError(
        "the `serving` block of the manifest's project cannot be read", object=version, got=str(got)[:300]
    )

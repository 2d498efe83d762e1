"""What a project's `serving:` block says about one version: size, waiting, batching, the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.core.errors import ModelError, RequestError

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
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

    Raises:
        ModelError: its `serving` block cannot be read.
    """
    from trimtab.core.blocks import Serving

    try:
        block = Serving.model_validate(project.get("serving") or {})
    except ValueError as error:
        raise ModelError(
            "the `serving` block of the manifest's project cannot be read", object=version, got=str(error)[:300]
        ) from error
    return Limits(
        block.max_rows,
        int(block.max_body_mb * MB),
        block.page,
        block.latency_ms,
        block.deadline_ms,
        block.batch_rows,
        block.batch_delay_ms,
        block.auth,
    )

"""The fixed source of a run on its way from define to ingest: as text, or where it lies when it is too long for one.

What Kubeflow hands from task to task ends up in pods' command lines, which take about 100 kB; the file list of a long
stretch of the log is more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RunError
from trimtab.core.records import canonical

if TYPE_CHECKING:
    from trimtab.core.store import Store

MOST_BYTES = 48_000


def as_parameter(key: str, data: Any) -> str:
    """The text that define hands to ingest.

    >>> as_parameter("0123456789abcdef", {"sklearn": "iris"})
    '{"sklearn":"iris"}'
    >>> as_parameter("0123456789abcdef", {"files": ["x" * 50_000]})
    '{"of_run":"0123456789abcdef"}'
    """
    text = canonical(data)
    if len(text) > MOST_BYTES:
        text = canonical({"of_run": key})
    return text.decode()


def from_parameter(text: str, store: Store) -> Any:
    """The source that a text of `as_parameter` means.

    Raises:
        NotFound: the run that it names was never asked for.
        RunError: it is no such text.
    """
    from trimtab.core.runs import read_request

    try:
        value = json.loads(text)
    except ValueError:
        raise RunError("the source that define handed on is no JSON", got=text[:80]) from None
    if isinstance(value, dict) and set(value) == {"of_run"}:
        return read_request(store, str(value["of_run"])).data
    return value

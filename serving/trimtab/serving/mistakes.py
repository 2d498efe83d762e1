"""What is wrong with the body of a feedback call, as a sentence: pydantic's errors in our words."""

from __future__ import annotations

import difflib
from typing import Any

from trimtab.core.errors import RequestError
from trimtab.core.values import describe

FORM = '{"model": …, "labels": [{"id" or "key": …, "value": …}]}'
BODY = {"model": "the model's name", "labels": 'a list of 1 to 1000 entries {"id" or "key": …, "value": …}'}
LABEL = {
    "id": "<UUIDv7>-<row>, as X-Prediction-Id gave it",
    "key": "text of 1 to 200 characters, or a whole number",
    "value": "the true class or the true number",
    "labelled_at": "a time in RFC 3339 with its offset, e.g. 2026-11-21T14:05:00Z",
    "source": "text of 1 to 200 characters",
}
ENTRY = 'an object {"id" or "key": …, "value": …, "labelled_at"?: …, "source"?: …}'


def first_mistake(errors: Any) -> RequestError:
    """The first of pydantic's errors as a refusal that names the entry, what was expected there and what came."""
    first = errors[0]
    kind, got = first["type"], first.get("input")
    if kind == "json_invalid":
        reason = str(first.get("ctx", {}).get("error", ""))[:200]
        return RequestError(400, "the body is no JSON", object="body", expected=FORM, got=reason)
    parts = first["loc"][1:]
    if not parts:
        missing = kind == "missing" or got in (None, b"", "")
        return RequestError(
            400,
            "the body is missing" if missing else "the body is no object",
            object="body",
            expected=FORM,
            got="nothing" if missing else describe(got),
        )
    entry = len(parts) > 1  # below `labels`; what pydantic puts behind the key is which kinds of a union it tried
    parts = parts[:3] if entry else parts[:1]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    known, name = LABEL if entry else BODY, str(parts[-1])
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=1)
        return RequestError(
            400,
            f"there is no field {name[:60]!r} here",
            object=place[:100],
            expected=f"{', '.join(list(known)[:-1])} or {list(known)[-1]}",
            got=repr(name[:60]),
            hint=f"did you mean {near[0]!r}" if near else "",
        )
    expected = known.get(name, ENTRY)
    if kind == "missing":
        keys = ", ".join(sorted(str(key)[:40] for key in got)[:6]) if isinstance(got, dict) else ""
        shown = f"an object with {keys or 'nothing'}"
        return RequestError(400, f"`{name}` is missing", object=place, expected=expected, got=shown)
    if kind == "value_error":
        message = str(first["msg"]).removeprefix("Value error, ")
        return RequestError(400, message, object=place, expected=expected, got=_shown(got))
    noun = f"`{name}`" if name in known else "an entry"
    return RequestError(400, f"{noun} is not what is expected", object=place, expected=expected, got=_shown(got))


def unreadable() -> RequestError:
    """The refusal of a body that no parser gets through."""
    return RequestError(400, "the body is no JSON", object="body", expected=FORM, got="text that is none, or too deep")


def _shown(got: object) -> str:
    """What came, in a few words; of an object its keys, and how long a text is that is too long to show."""
    if isinstance(got, dict):
        return f"an object with {', '.join(sorted(str(key)[:40] for key in got)[:6]) or 'nothing'}"
    if isinstance(got, str) and len(got) > 60:
        return f"text of {len(got)} characters"
    return "an array of none" if got == [] else describe(got)

"""The errors a user of Trimtab can meet.

::

    TrimtabError                 exit 1
    ├── ProjectError             exit 2   the project file, a name or an option is wrong
    ├── DataError                exit 2   a file, a column or rows are not what was declared
    ├── ModelError               exit 1   a model, its graph or its bundle does not hold
    │   └── SignatureError                a bundle's signature or digest does not match
    ├── StoreError               exit 1   the store did not do what was asked
    │   ├── NotFound                      no object under that key
    │   ├── StoreRefused         exit 2   credentials, rights, bucket or folder are wrong: trying again does not help
    │   └── StoreUnfit           exit 2   the store cannot keep the contract (no conditional create)
    ├── RunError                 exit 1   a pipeline run failed
    │   ├── DuplicateRun                  another run owns the key
    │   ├── RunRefused           exit 2   the cluster's API refused the request, or it could not be made
    │   ├── RunTimeout           exit 4   a run did not end in the time given
    │   └── RunCancelled         exit 3
    ├── RolloutError             exit 1   a rollout or rollback did not go through
    │   ├── RolloutRefused       exit 2   what was asked for cannot be, e.g. no version to return to
    │   └── RolloutTimeout       exit 4
    ├── RecordError              exit 1   a stored record cannot be read
    └── RequestError             exit 1   an HTTP request was refused; knows its status
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# What begins a command; `make` and `export` begin sentences too.
_COMMAND = re.compile(
    r"(?:trimtab|kubectl|pip|python3?|docker|git|kustomize|openssl|chmod) \S"
    r"|make (?:\S+ [A-Z_]+=|(?:setup|servers|images|cluster-up)(?:\s|$))"
    r"|export [A-Z_]+="
)


def _is_command(hint: str) -> bool:
    """Whether a hint begins with a command, which is written as it is typed."""
    return _COMMAND.match(hint) is not None


class TrimtabError(Exception):
    """What went wrong, on which object, expected against got, and what to do next.

    Args:
        message: one sentence that says what went wrong.
        object: the file, column, key or field that it is about.
        expected: what would have been right.
        got: what was found.
        hint: the next step for the reader.
        rows: row numbers (0-based, in the source's order) that are concerned; at most 20 are kept.

    >>> print(DataError("column 'age' holds text", object="people.csv", expected="numbers", got="'old'",
    ...                 hint="declare it as kind: category", rows=[3]))
    people.csv: column 'age' holds text: expected numbers, got 'old' (row 3). Declare it as kind: category.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        object: str = "",
        expected: str = "",
        got: str = "",
        hint: str = "",
        rows: Sequence[int] = (),
    ) -> None:
        self.message = message
        self.object = object
        self.expected = expected
        self.got = got
        self.hint = hint
        self.rows = [int(r) for r in list(rows)[:20]]
        super().__init__(self.sentence())

    @property
    def kind(self) -> str:
        """The class's name, as error records carry it."""
        return type(self).__name__

    def sentence(self) -> str:
        """The error as one readable line."""
        text = self.message.rstrip(".")
        if self.object and self.object not in text:
            text = f"{self.object}: {text}"
        if self.expected or self.got:
            facts = [f"expected {self.expected}"] if self.expected else []
            facts += [f"got {self.got}"] if self.got else []
            text += ": " + ", ".join(facts)
        if self.rows:
            shown = ", ".join(str(r) for r in self.rows[:8]) + (", …" if len(self.rows) > 8 else "")
            text += f" (row {shown})" if len(self.rows) == 1 else f" (rows {shown})"
        text = text.rstrip(".")
        if self.hint:
            hint = self.hint.rstrip(".")
            hint = hint if _is_command(hint) else hint[:1].upper() + hint[1:]
            text += f"{'' if text.endswith('?') else '.'} {hint}"
            if hint.lower().startswith("did you mean ") and "?" not in hint:
                text += "?"
        return text if text.endswith("?") else text + "."

    def facts(self) -> dict[str, Any]:
        """The fields of an error record: kind, message, object, rows, next step."""
        return {
            "kind": self.kind,
            "message": self.sentence(),
            "object": self.object,
            "expected": self.expected,
            "got": self.got,
            "rows": self.rows,
            "next_step": self.hint,
        }


class ProjectError(TrimtabError):
    """The project file, a name or an option is wrong."""

    exit_code = 2


class DataError(TrimtabError):
    """A file, a column or rows are not what was declared."""

    exit_code = 2


class ModelError(TrimtabError):
    """A model, its graph or its bundle does not hold."""


class SignatureError(ModelError):
    """A bundle's signature or a file's digest does not match."""


class StoreError(TrimtabError):
    """The store did not do what was asked."""


class NotFound(StoreError):
    """No object under that key."""


class StoreRefused(StoreError):
    """Credentials, rights, bucket or folder are wrong: trying again does not help, other settings do."""

    exit_code = 2


class StoreUnfit(StoreError):
    """The store cannot keep the contract."""

    exit_code = 2


class RunError(TrimtabError):
    """A pipeline run failed."""


class DuplicateRun(RunError):
    """Another run owns the key; follow that one."""


class RunRefused(RunError):
    """A run was not started: the API refused it, or what it needs is missing."""

    exit_code = 2


class RunTimeout(RunError):
    """A run did not end in the time given."""

    exit_code = 4


class RunCancelled(RunError):
    """A run was cancelled."""

    exit_code = 3


class RolloutError(TrimtabError):
    """A rollout or rollback did not go through."""


class RolloutRefused(RolloutError):
    """What was asked for cannot be."""

    exit_code = 2


class RolloutTimeout(RolloutError):
    """A rollout step did not happen in time."""

    exit_code = 4


class RecordError(TrimtabError):
    """A stored record cannot be read."""


class RequestError(TrimtabError):
    """An HTTP request was refused.

    Args:
        status: the HTTP status to answer with.
        message: as in `TrimtabError`; the other fields too.
    """

    def __init__(self, status: int, message: str, **facts: Any) -> None:
        self.status = status
        super().__init__(message, **facts)

"""What a check finds, and all of them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from trimtab.core.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.core.settings import Settings

State = Literal["ok", "warning", "failed", "not looked at"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what, in a word or two.
        state: `failed` needs doing before things work, `warning` before they hold.
        says: what was found.
        hint: what to do; empty where nothing is.
    """

    check: str
    state: State
    says: str
    hint: str = ""


class Where(NamedTuple):
    """What is looked at.

    Attributes:
        settings: of this environment.
        prometheus, alertmanager, kubeflow: base URLs; empty ones are not looked at.
    """

    settings: Settings
    prometheus: str = ""
    alertmanager: str = ""
    kubeflow: str = ""


Check = Callable[[Where], Iterator[Finding]]


def examine(where: Where) -> Iterator[Finding]:
    """Run all checks; one that breaks is a finding itself and stops no other."""
    from trimtab.doctor import answering, machine, stored

    checks: list[tuple[str, Check]] = [
        ("python", machine.check_python),
        ("signing key", machine.check_keys),
        ("token", machine.check_tokens),
        ("spool", machine.check_spool),
        ("store", stored.check_store),
        ("clock", answering.check_clock),
        ("models", stored.check_models),
        ("server", answering.check_server),
        ("hook", answering.check_hook),
        ("Prometheus", answering.check_prometheus),
        ("Alertmanager", answering.check_alertmanager),
        ("Kubeflow", answering.check_kubeflow),
    ]
    for name, check in checks:
        try:
            yield from check(where)
        except TrimtabError as error:
            yield Finding(name, "failed", error.sentence())
        except OSError as error:  # a file that this user may not read, say
            yield Finding(name, "failed", f"{error.filename or 'a file'}: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001 - what breaks one check must not hide the others
            yield Finding(name, "failed", f"the check broke: {type(error).__name__}: {error}", "please report it")

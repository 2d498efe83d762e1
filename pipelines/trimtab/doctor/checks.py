"""What a check finds, and all of them in order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from trimtab.core.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.doctor.kube import Kube

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
        kubernetes: whether a Kubernetes is looked at.
        kubeconfig: its kubeconfig file; empty as kubectl finds it, or the pod's own account.
        namespace: where watch, hook and servers run; empty takes the context's.
        runs_in: where pipelines' pods run; empty takes `namespace`.
        kubeflow_in, kserve_in: where Kubeflow Pipelines and KServe are installed.
    """

    settings: Settings
    prometheus: str = ""
    alertmanager: str = ""
    kubeflow: str = ""
    kubernetes: bool = False
    kubeconfig: str = ""
    namespace: str = ""
    runs_in: str = ""
    kubeflow_in: str = "kubeflow"
    kserve_in: str = "kserve"


Check = Callable[[Where], Iterator[Finding]]


def examine(where: Where) -> Iterator[Finding]:
    """Run all checks; one that breaks is a finding itself and stops no other."""
    from trimtab.doctor import answering, kubeflow, machine, policies, stored

    checks: list[tuple[str, Check]] = [
        ("python", machine.check_python),
        ("signing key", machine.check_keys),
        ("token", machine.check_tokens),
        ("spool", machine.check_spool),
        ("store", stored.check_store),
        ("bucket policies", policies.check_own),
        ("clock", answering.check_clock),
        ("models", stored.check_models),
        ("server", answering.check_server),
        ("hook", answering.check_hook),
        ("Prometheus", answering.check_prometheus),
        ("Alertmanager", answering.check_alertmanager),
        ("Kubeflow", answering.check_kubeflow),
        ("Kubeflow access", kubeflow.check_asked_who),
    ]
    for name, check in checks:
        yield from _guarded(name, functools.partial(check, where))
    yield from _guarded("Kubernetes", lambda: _examine_cluster(where))


def _examine_cluster(where: Where) -> Iterator[Finding]:
    """Run the checks of a Kubernetes; what this account may not see is said and stops no other."""
    if not where.kubernetes:
        yield Finding("Kubernetes", "not looked at", "no --namespace, and this is no pod")
        return
    from trimtab.doctor import cluster, kserve, kubeflow, policies
    from trimtab.doctor.kube import Kube, Unreachable, Unseen

    try:
        kube = Kube(where.kubeconfig)
    except Unreachable as error:
        yield Finding("Kubernetes", "failed", f"it is not known where it is: {error}", "name it by KUBECONFIG")
        return
    namespace = where.namespace or kube.namespace
    where = where._replace(namespace=namespace, runs_in=where.runs_in or namespace)
    checks: list[tuple[str, Callable[[Where, Kube], Iterator[Finding]]]] = [
        ("Kubernetes", cluster.check_kubernetes),
        ("namespace", cluster.check_namespace),
        ("accounts", cluster.check_accounts),
        ("secrets", cluster.check_secrets),
        ("S3 users", policies.check_users),
        ("deployed", cluster.check_deployed),
        ("KServe", kserve.check_crds),
        ("KServe mode", kserve.check_mode),
        ("storage container", kserve.check_storage),
        ("serving runtime", kserve.check_runtime),
        ("autoscaling", kserve.check_autoscaling),
        ("Kubeflow retries", kubeflow.check_retries),
        ("Kubeflow launcher", kubeflow.check_launcher),
        ("GPUs", cluster.check_gpus),
        ("pods", cluster.check_pods),
    ]
    try:
        for name, check in checks:
            try:
                yield from _guarded(name, functools.partial(check, where, kube))
            except Unseen as error:
                yield Finding(
                    name, "not looked at", f"this account may not read {error.what}", "ask as an administrator"
                )
            except Unreachable as error:
                yield Finding(
                    name, "failed", f"{kube.host} does not answer: {error}", "is it up, and your login valid?"
                )
                return
    finally:
        kube.close()


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check's findings; one that breaks is a finding itself."""
    from trimtab.doctor.kube import Unreachable, Unseen

    try:
        yield from check()
    except (Unseen, Unreachable):
        raise
    except TrimtabError as error:
        yield Finding(name, "failed", error.sentence())
    except OSError as error:  # a file that this user may not read, say
        yield Finding(name, "failed", f"{error.filename or 'a file'}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - what breaks one check must not hide the others
        yield Finding(name, "failed", f"the check broke: {type(error).__name__}: {error}", "please report it")

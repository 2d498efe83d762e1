"""The place where versions serve, as `hook`, `rollback` and `promote` are told on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.actuators import Actuator
    from trimtab.monitoring.kserve.actuator import KServe

ACTUATORS = ("server", "kserve")


def make_actuator(kind: str, namespace: str, store: Store, server_metrics: str) -> Actuator:
    """The place that `--actuator` names.

    Raises:
        ProjectError: no such place, the package for it is not installed, or no Kubernetes API is known here.
    """
    if (cluster := cluster_of(kind, namespace, store)) is not None:
        return cluster()
    from trimtab.monitoring.actuators import SingleServer

    return SingleServer(server_metrics)


def cluster_of(kind: str, namespace: str, store: Store) -> Callable[[], KServe] | None:
    """What makes the cluster's actuator when it is needed; None where `--actuator` names no cluster.

    Raises:
        ProjectError: no such place.
    """
    if kind not in ACTUATORS:
        raise ProjectError("no such place", object="--actuator", expected=" or ".join(ACTUATORS), got=kind)
    return (lambda: make_kserve(namespace, store)) if kind == "kserve" else None


def make_kserve(namespace: str, store: Store) -> KServe:
    """The cluster that a pod's ServiceAccount or KUBECONFIG names.

    Raises:
        ProjectError: the extra `kubernetes` is not installed, or no Kubernetes API is known here.
    """
    from trimtab.monitoring.kserve import api
    from trimtab.monitoring.kserve.actuator import KServe

    try:
        return KServe(store, api.KubernetesApi(), namespace or api.namespace())
    except ImportError as error:
        raise ProjectError(
            "the Kubernetes client is not installed", got=str(error), hint='pip install "trimtab[kubernetes]"'
        ) from None

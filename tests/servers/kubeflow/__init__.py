"""A stand-in for Kubeflow Pipelines' API server (v2beta1), for where no cluster with KFP runs.

It answers over HTTP as KFP 2.17's backend was seen to: no idempotency, names of runs that repeat, errors without
words, states that are missing, FAILED after a termination, logs of unknown nodes with status 200. Each request is
held to KFP's own models (kfp-server-api). It fails on demand in every way that is known (`faults`). Runs are played
by an `Executor`: scripted, by processes of this machine, or by whatever is plugged in; `dag` walks the uploaded IR.
"""

from __future__ import annotations

from tests.servers.kubeflow.executors import Executor, Outcome, Processes, Scripted, Some, TaskSpec
from tests.servers.kubeflow.faults import Fault, Faults
from tests.servers.kubeflow.server import StandIn

__all__ = ["Executor", "Fault", "Faults", "Outcome", "Processes", "Scripted", "Some", "StandIn", "TaskSpec"]

"""What is read from pods, Deployments and routes, as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trimtab.monitoring.kserve.observe import Deployed, Patience, Trouble, deployments, trouble, weights

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PATIENCE = Patience(settle=1, grace=60, deadline=600)


class Found:
    """An API that has these objects."""

    def __init__(self, **objects: Any) -> None:
        self.objects = objects

    def get(self, path: str) -> Any:
        return self.objects.get(path.rpartition("/")[2].replace("-", "_"))

    def list(self, path: str, labels: str = "") -> list[Any]:
        return list(self.objects.values())

    def apply(self, path: str, body: Any, *, force: bool = False, dry_run: bool = False) -> Any:
        raise NotImplementedError

    def merge(self, path: str, body: Any) -> Any:
        raise NotImplementedError

    def delete(self, path: str) -> None:
        raise NotImplementedError


def pod(age: float, **status: Any) -> dict[str, Any]:
    made = (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": "pod-1", "creationTimestamp": made}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "kserve-container", "ready": False, "restartCount": 0, "state": state, **more}


ENDED: dict[str, Any] = {"lastState": {"terminated": {"exitCode": 1, "message": "the file model.onnx was changed"}}}


@pytest.mark.parametrize(
    ("found", "said", "lasting"),
    [
        (pod(5, containerStatuses=[waiting("ImagePullBackOff", "no such image")]), "ImagePullBackOff: no such", False),
        (pod(61, containerStatuses=[waiting("ErrImagePull")]), "ErrImagePull", True),
        (pod(61, initContainerStatuses=[waiting("CreateContainerConfigError")]), "CreateContainerConfigError", True),
        (pod(9, containerStatuses=[waiting("CrashLoopBackOff", restartCount=1, **ENDED)]), "model.onnx", False),
        (pod(9, containerStatuses=[waiting("CrashLoopBackOff", restartCount=3, **ENDED)]), "exit code 1: the", True),
        (
            pod(61, conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes"}]),
            "finds no node: 0/1 nodes",
            False,
        ),
        (pod(601, conditions=[{"type": "PodScheduled", "reason": "Unschedulable"}]), "finds no node", True),
    ],
)
def test_why_a_pod_does_not_serve_and_whether_to_wait(found: dict[str, Any], said: str, lasting: bool) -> None:
    told = trouble([found], None, NOW, PATIENCE)
    assert told is not None
    assert said in told.words
    assert told.lasting is lasting


def test_where_another_pod_answers_nothing_is_in_vain() -> None:
    crashing = pod(900, containerStatuses=[waiting("CrashLoopBackOff", restartCount=9, **ENDED)])
    told = trouble([crashing], Deployed("d", 2, 1), NOW, PATIENCE)
    assert told is not None
    assert not told.lasting


def test_pods_that_cannot_be_made_and_pods_that_never_become_ready() -> None:
    since = NOW - timedelta(seconds=120)
    quota = Deployed("d", 1, 0, failing="exceeded quota", unavailable_since=since)
    told = trouble([], quota, NOW, PATIENCE)
    assert told is not None
    assert (told.words, told.lasting) == ("its pods cannot be made: exceeded quota", True)
    assert trouble([pod(120)], Deployed("d", 1, 0, unavailable_since=since), NOW, PATIENCE) is None
    late = trouble([pod(700)], Deployed("d", 1, 0, unavailable_since=NOW - timedelta(seconds=700)), NOW, PATIENCE)
    assert late is not None
    assert late.lasting
    assert trouble([pod(5)], Deployed("d", 1, 1), NOW, PATIENCE) is None


def test_a_version_that_is_tried_has_to_come_up_whole_in_time() -> None:
    def told(seconds: float, *, tried: bool) -> Trouble | None:
        some = Deployed("d", 3, 2, unavailable_since=NOW - timedelta(seconds=seconds))
        return trouble([], some, NOW, PATIENCE, tried=tried)

    assert told(599, tried=True) is None
    assert told(601, tried=True) == Trouble("2 of its 3 pods became ready in 601 s", True)
    assert told(601, tried=False) is None, "one that has served is not given up for a pod"
    stuck = pod(700, containerStatuses=[waiting("ImagePullBackOff")])
    for tried in (False, True):
        some = Deployed("d", 3, 2, unavailable_since=NOW - timedelta(seconds=601))
        found = trouble([stuck], some, NOW, PATIENCE, tried=tried)
        assert found is not None
        assert found.lasting is tried


def route(generation: int, seen: int, **shares: int) -> dict[str, Any]:
    refs = [{"name": name, "weight": weight} for name, weight in shares.items()]
    parents = [{"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": seen}]}]
    return {
        "metadata": {"name": "m", "generation": generation},
        "spec": {"rules": [{"backendRefs": refs}]},
        "status": {"parents": parents},
    }


def test_shares_are_what_the_routes_give_and_a_gateway_that_lags_is_marked() -> None:
    assert weights(Found(), "ns", "m") is None
    assert weights(Found(m=route(2, 2, a=90, b=10)), "ns", "m") == ({"a": 90, "b": 10}, "m:2")
    assert weights(Found(m=route(3, 2, a=1)), "ns", "m") == ({"a": 100}, "m:3?")
    differ = Found(m=route(2, 2, a=100, b=0), m_predictor=route(1, 1, a=50, b=50))
    assert weights(differ, "ns", "m") == ({"a": 100, "b": 50}, "m:2 m-predictor:1")


def test_only_pods_of_the_present_template_are_available() -> None:
    def deployment(observed: int, updated: int) -> dict[str, Any]:
        return {
            "metadata": {"name": "d", "generation": 2, "creationTimestamp": "2026-11-22T11:00:00Z"},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": observed, "availableReplicas": 2, "updatedReplicas": updated},
        }

    assert deployments(Found(d=deployment(2, 2)), "ns", "m")["d"].available == 2
    assert deployments(Found(d=deployment(2, 1)), "ns", "m")["d"].available == 1
    assert deployments(Found(d=deployment(1, 2)), "ns", "m")["d"].available == 0


def test_since_when_pods_lack_is_not_when_those_before_began_to_answer() -> None:
    """A Deployment that has answered for a day gets a new template: Available stays True, of the pods before."""

    def since(observed: int, available: int, able: str, moved: str) -> datetime | None:
        conditions = [
            {"type": "Available", "status": able, "lastTransitionTime": "2026-11-21T12:00:00Z"},
            {"type": "Progressing", "status": moved, "lastUpdateTime": "2026-11-22T11:59:30Z"},
        ]
        found = {
            "metadata": {"name": "d", "generation": 2, "creationTimestamp": "2026-11-20T12:00:00Z"},
            "spec": {"replicas": 1, "progressDeadlineSeconds": 300},
            "status": {
                "observedGeneration": observed,
                "availableReplicas": 1,
                "updatedReplicas": available,
                "conditions": conditions,
            },
        }
        return deployments(Found(d=found), "ns", "m")["d"].unavailable_since

    assert since(1, 1, "True", "True") is None, "what its controller has not seen yet says nothing"
    assert since(2, 1, "True", "True") is None
    assert since(2, 0, "True", "True") == datetime(2026, 11, 22, 11, 59, 30, tzinfo=UTC)
    assert since(2, 0, "True", "False") == datetime(2026, 11, 22, 11, 54, 30, tzinfo=UTC)
    assert since(2, 1, "False", "True") == datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

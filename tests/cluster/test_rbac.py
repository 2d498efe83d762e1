"""Rights proved both ways by the real API server: an account may do what it is for, and is refused the next thing."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from tests.manifests.kustomize import Manifest, documents, of_kind, overlay
from tests.servers.kubernetes.cluster import Cluster

pytestmark = pytest.mark.cluster
KINDS = ("ServiceAccount", "Role", "RoleBinding")


@pytest.fixture
def ours(cluster_api: Cluster, namespace: str) -> str:
    """A namespace with our accounts and their rights."""
    text = yaml.safe_dump_all(of_kind(documents(overlay("base", namespace)), *KINDS))
    cluster_api.kubectl("apply", "--server-side", "-f", "-", input=text, check=True)
    return namespace


def can(cluster: Cluster, who: str, namespace: str, verb: str, what: str, group: str = "") -> bool:
    """Whether one may, by the API server's own answer: `what` is `resource.group`, with `/subresource` or `/name`."""
    from kubernetes.client import AuthorizationV1Api

    resource, _, part = what.partition("/")
    resource, _, api = resource.partition(".")
    sub = part if part in {"log", "exec", "portforward", "token", "scale"} else ""
    attributes = {"namespace": namespace, "verb": verb, "group": api, "resource": resource, "subresource": sub}
    spec = {"user": who, "resourceAttributes": {**attributes, "name": "" if sub else part}}
    if group:
        spec["groups"] = [group]
    with cluster.client() as client:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return bool(AuthorizationV1Api(client).create_subject_access_review(body).status.allowed)


HOOK = [
    *[(v, "inferenceservices.serving.kserve.io") for v in ("get", "create", "patch")],
    *[(v, "horizontalpodautoscalers.autoscaling") for v in ("get", "create", "patch", "delete")],
    *[(v, "poddisruptionbudgets.policy") for v in ("get", "create", "patch", "delete")],
    *[("list", r) for r in ("pods", "events", "deployments.apps", "workflows.argoproj.io")],
    ("get", "httproutes.gateway.networking.k8s.io"),
    ("list", "servingruntimes.serving.kserve.io"),
    ("get", "deployments.apps/scale"),
    ("patch", "deployments.apps/scale"),
]
# What no request of the rollout controller, and no look at a run, asks for.
NOT_HOOK = [
    *[(v, "inferenceservices.serving.kserve.io") for v in ("list", "watch", "update", "delete", "deletecollection")],
    *[(v, "servingruntimes.serving.kserve.io") for v in ("get", "watch", "create", "patch", "update", "delete")],
    *[(v, "horizontalpodautoscalers.autoscaling") for v in ("list", "watch", "update", "deletecollection")],
    *[(v, "poddisruptionbudgets.policy") for v in ("list", "watch", "update", "deletecollection")],
    *[(v, "deployments.apps") for v in ("get", "watch", "create", "patch", "update", "delete")],
    ("update", "deployments.apps/scale"),
    *[(v, "httproutes.gateway.networking.k8s.io") for v in ("list", "watch", "create", "patch", "update", "delete")],
    *[(v, "pods") for v in ("get", "watch", "create", "patch", "update", "delete")],
    *[(v, "events") for v in ("get", "watch", "create", "patch", "update", "delete")],
    *[(v, "workflows.argoproj.io") for v in ("get", "watch", "create", "patch", "update", "delete")],
    ("get", "pods/log"),
    ("create", "pods/exec"),
    ("create", "pods/portforward"),
    ("get", "serviceaccounts"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("get", "configmaps"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("create", "serviceaccounts/token"),
]
PIPELINE = [
    ("get", "configmaps/kfp-launcher"),
    ("get", "secrets/trimtab-s3-artifacts"),
    ("create", "workflowtaskresults.argoproj.io"),
    ("patch", "workflowtaskresults.argoproj.io"),
]
NOT_PIPELINE = [
    ("list", "configmaps"),
    ("get", "configmaps/trimtab-server"),
    ("list", "secrets"),
    *[("get", f"secrets/trimtab-{s}") for s in ("s3-hook", "s3-watch", "s3-server", "s3-oncall", "signing", "tokens")],
    ("get", "pods"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("get", "workflows.argoproj.io"),
    ("patch", "inferenceservices.serving.kserve.io"),
    ("delete", "workflowtaskresults.argoproj.io"),
]
ONCALL = [
    ("get", "pods"),
    ("get", "pods/log"),
    ("create", "pods/portforward"),
    ("get", "secrets/trimtab-s3-oncall"),
    ("get", "secrets/trimtab-tokens"),
    ("patch", "inferenceservices.serving.kserve.io"),
    ("patch", "horizontalpodautoscalers.autoscaling"),
    ("patch", "poddisruptionbudgets.policy"),
    ("patch", "deployments.apps/scale"),
    ("patch", "deployments.apps/trimtab-hook"),
    ("patch", "deployments.apps/trimtab-watch"),
    ("get", "httproutes.gateway.networking.k8s.io"),
]
NOT_ONCALL = [
    ("list", "secrets"),
    ("get", "secrets/trimtab-signing"),
    ("get", "secrets/trimtab-s3-hook"),
    ("get", "secrets/trimtab-minio-root"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("delete", "inferenceservices.serving.kserve.io"),
    ("create", "inferenceservices.serving.kserve.io"),
    ("update", "inferenceservices.serving.kserve.io"),
    ("patch", "servingruntimes.serving.kserve.io"),
    ("patch", "httproutes.gateway.networking.k8s.io"),
    ("update", "horizontalpodautoscalers.autoscaling"),
    ("update", "poddisruptionbudgets.policy"),
    ("patch", "deployments.apps/digits-predictor"),
    ("patch", "roles.rbac.authorization.k8s.io"),
]


@pytest.mark.parametrize(
    ("account", "may", "may_not"),
    [("trimtab-hook", HOOK, NOT_HOOK), ("pipeline-runner", PIPELINE, NOT_PIPELINE)],
    ids=["hook", "pipeline"],
)
def test_an_account_may_what_it_is_for(
    account: str, may: list[tuple[str, str]], may_not: list[tuple[str, str]], cluster_api: Cluster, ours: str
) -> None:
    who = f"system:serviceaccount:{ours}:{account}"
    assert [one for one in may if not can(cluster_api, who, ours, *one)] == []
    assert [one for one in may_not if can(cluster_api, who, ours, *one)] == []


def test_oncall_may_roll_back_by_hand_and_no_more(cluster_api: Cluster, ours: str) -> None:
    group = "trimtab-oncall"
    assert [one for one in ONCALL if not can(cluster_api, "ann", ours, *one, group)] == []
    assert [one for one in NOT_ONCALL if can(cluster_api, "ann", ours, *one, group)] == []
    assert not can(cluster_api, "ann", ours, "get", "pods")


def test_where_runs_execute_the_hook_may_look_and_no_more(cluster_api: Cluster) -> None:
    with cluster_api.namespace() as runs:
        built = [
            {**one, "metadata": {**one["metadata"], "namespace": runs}}
            for one in of_kind(documents(overlay("", resources=["manifests/runs"])), "Role", "RoleBinding")
        ]
        cluster_api.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(built), check=True)
        who = "system:serviceaccount:trimtab:trimtab-hook"
        looks = [("list", "pods"), ("list", "events"), ("list", "workflows.argoproj.io")]
        assert [one for one in looks if not can(cluster_api, who, runs, *one)] == []
        surplus = [one for one in (*HOOK, *NOT_HOOK) if one not in looks]
        assert [one for one in surplus if can(cluster_api, who, runs, *one)] == []


def test_in_a_profile_the_hook_may_submit_and_no_more(cluster_api: Cluster, namespace: str) -> None:
    built = of_kind(documents(overlay("base", namespace, ["kfp-profile"])), *KINDS)
    cluster_api.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(built), check=True)
    kinds = [f"{kind}.pipelines.kubeflow.org" for kind in ("pipelines", "experiments", "runs")]
    may = [*[(verb, kind) for verb in ("get", "list", "create") for kind in kinds], ("terminate", kinds[-1])]
    may_not = [
        *[(verb, kind) for verb in ("update", "delete", "archive") for kind in kinds],
        ("retry", kinds[-1]),
        ("create", "jobs.pipelines.kubeflow.org"),
        *[(verb, "workflows.argoproj.io") for verb in ("create", "patch", "delete")],
    ]
    who = f"system:serviceaccount:{namespace}:trimtab-hook"
    assert [one for one in may if not can(cluster_api, who, namespace, *one)] == []
    assert [one for one in may_not if can(cluster_api, who, namespace, *one)] == []


@pytest.mark.parametrize("account", ["trimtab-watch", "trimtab-server"])
def test_watch_and_server_may_nothing(account: str, cluster_api: Cluster, ours: str) -> None:
    who = f"system:serviceaccount:{ours}:{account}"
    asked = [*HOOK, *NOT_HOOK, *PIPELINE, *ONCALL]
    assert [one for one in asked if can(cluster_api, who, ours, *one)] == []


def test_rights_end_at_the_namespace(cluster_api: Cluster, ours: str) -> None:
    with cluster_api.namespace() as other:
        for account in ("trimtab-hook", "pipeline-runner"):
            who = f"system:serviceaccount:{ours}:{account}"
            assert [one for one in (*HOOK, *PIPELINE) if can(cluster_api, who, other, *one)] == []


def test_the_hook_makes_and_moves_an_inference_service_for_real(cluster_api: Cluster, ours: str) -> None:
    account = cluster_api.as_account(ours, "trimtab-hook")

    def as_hook(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return cluster_api.kubectl(*words, "-n", ours, input=text, kubeconfig=account)

    for one in (inference_service("digits"), budget("digits")):
        done = as_hook("apply", "--server-side", "--field-manager=trimtab-rollout", "-f", "-", text=yaml.safe_dump(one))
        assert done.returncode == 0, done.stderr
    assert as_hook("get", "inferenceservice", "digits").returncode == 0
    assert as_hook("delete", "poddisruptionbudget", "digits").returncode == 0
    refused = as_hook("delete", "inferenceservice", "digits")
    assert "forbidden" in refused.stderr
    assert "forbidden" in as_hook("get", "secrets").stderr


def test_a_stage_reads_its_one_secret_for_real(cluster_api: Cluster, ours: str) -> None:
    for name in ("trimtab-s3-artifacts", "trimtab-signing"):
        cluster_api.kubectl("create", "secret", "generic", name, "-n", ours, "--from-literal=a=b", check=True)
    account = cluster_api.as_account(ours, "pipeline-runner")
    assert cluster_api.kubectl("get", "secret", "trimtab-s3-artifacts", "-n", ours, kubeconfig=account).returncode == 0
    refused = cluster_api.kubectl("get", "secret", "trimtab-signing", "-n", ours, kubeconfig=account)
    assert "forbidden" in refused.stderr


def inference_service(name: str) -> Manifest:
    model = {"modelFormat": {"name": "trimtab"}, "runtime": "trimtab-server-v1", "storageUri": "s3://bucket/v1"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": {"model": model}},
    }


def budget(name: str) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}},
    }

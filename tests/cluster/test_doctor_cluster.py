"""`trimtab doctor` on a real Kubernetes API: each finding, in states that the test itself makes and takes back.

What KServe's controller, a gateway's controller or Kubeflow would have written is written by the tests: none of them
runs here. Objects of the whole cluster are set to the state that is asserted and put back as they were found.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.core.test_grants import Setup, place
from tests.servers.fixtures import S3
from tests.servers.kubernetes.cluster import Cluster

from trimtab.core import grants
from trimtab.core.records import rfc3339, utcnow
from trimtab.core.settings import load
from trimtab.core.store.admin import read_users
from trimtab.doctor import Finding, examine
from trimtab.doctor.checks import Where

__all__ = ["place"]
pytestmark = pytest.mark.cluster
SAFE = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def look(kubeconfig: Path, namespace: str, environ: dict[str, str] | None = None, **more: str) -> list[Finding]:
    settings = load(environ or {"TRIMTAB_STORE": "file:///nowhere", "TRIMTAB_HOME": "/nonexistent"})
    where = Where(settings, kubernetes=True, kubeconfig=str(kubeconfig), namespace=namespace)
    return list(examine(where._replace(**more)))  # type: ignore[arg-type]


def seen(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump_all(objects), check=True
    )


def thing(kind: str, name: str, namespace: str = "", version: str = "v1", **fields: Any) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place}, **fields}


@contextlib.contextmanager
def as_it_was(cluster: Cluster, kind: str, name: str) -> Iterator[None]:
    """Whatever is done to an object of the whole cluster: it is put back as it was found, or taken away again."""
    found = cluster.kubectl("get", kind, name, "-o", "json")
    try:
        yield
    finally:
        cluster.kubectl("delete", kind, name, "--ignore-not-found")
        if found.returncode == 0:
            before = json.loads(found.stdout)
            for field in ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation"):
                before["metadata"].pop(field, None)
            cluster.kubectl("create", "-f", "-", input=json.dumps(before), check=True)


def gone(cluster: Cluster, kind: str, name: str, namespace: str = "") -> None:
    where = ["-n", namespace] if namespace else []
    cluster.kubectl("delete", kind, name, "--ignore-not-found", *where, check=True)


def test_an_empty_namespace_says_all_that_is_missing(cluster_api: Cluster, namespace: str) -> None:
    findings = look(cluster_api.kubeconfig, namespace)
    told = seen(findings)
    assert told["Kubernetes"].state == "ok"
    assert f"namespace {namespace}" in told["Kubernetes"].says
    assert (told["namespace"].state, told["Pod Security"].state) == ("ok", "ok")
    assert told["KServe"].says == "InferenceService has spec.canary"
    missing = [f.says for f in findings if f.check == "secrets"]
    assert {f"no Secret trimtab-s3-{user} in {namespace}" for user in grants.USERS} <= set(missing)
    assert any("trimtab-trusted-keys" in says for says in missing)
    for check in ("accounts", "watch deployed", "hook deployed", "serving runtime"):
        assert told[check].state == "failed", check
        assert told[check].hint
    assert told["Kubeflow launcher"].state == "warning"
    assert told["pods"].state == "ok"
    assert not any("broke" in f.says for f in findings)


def test_what_the_manifests_bring_is_found(cluster_api: Cluster, namespace: str) -> None:
    image = f"registry.example/trimtab-server@sha256:{'0' * 64}"
    pod = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    data = {key: base64.b64encode(b"a-value").decode() for key in ("access_key", "secret_key", "endpoint", "region")}
    objects = [
        *(thing("ServiceAccount", name, namespace) for name in ("trimtab-watch", "trimtab-hook", "pipeline-runner")),
        *(thing("Secret", f"trimtab-s3-{user}", namespace, data=data) for user in grants.USERS),
        thing("Secret", "trimtab-signing", namespace, stringData={"signing.pem": "x"}),
        *(
            thing("Secret", name, namespace, stringData={"token": "x", "tokens.json": "{}"})
            for name in ("trimtab-tokens", "trimtab-server-tokens")
        ),
        thing("ConfigMap", "trimtab-trusted-keys", namespace, data={"a.pem": "x"}),
        *(
            thing(
                "Deployment",
                name,
                namespace,
                "apps/v1",
                spec={"selector": {"matchLabels": {"app": "x"}}, "template": pod},
            )
            for name in ("trimtab-watch", "trimtab-hook")
        ),
        {
            **thing("ServingRuntime", "trimtab-server-v1", namespace, "serving.kserve.io/v1alpha1"),
            "spec": {"containers": [{"name": "kserve-container", "image": image}]},
        },
    ]
    objects[-1]["metadata"]["labels"] = {"app.kubernetes.io/name": "trimtab"}
    apply(cluster_api, *objects)
    told = seen(look(cluster_api.kubeconfig, namespace))
    assert (told["accounts"].state, told["serving runtime"].state) == ("ok", "ok")
    assert told["secrets"].says == "8 of 8 Secrets are there with their keys"
    assert "has no available pod" in told["watch deployed"].says  # nothing runs on an API alone
    # What the kubelet would report once they run.
    for name in ("trimtab-watch", "trimtab-hook"):
        status = json.dumps({"status": {"availableReplicas": 1, "readyReplicas": 1, "replicas": 1}})
        cluster_api.kubectl(
            "patch",
            "deployment",
            name,
            "-n",
            namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
            check=True,
        )
    gone(cluster_api, "secret", "trimtab-signing", namespace)
    less = '[{"op": "remove", "path": "/data/region"}]'
    cluster_api.kubectl("patch", "secret", "trimtab-s3-hook", "-n", namespace, "--type=json", "-p", less, check=True)
    objects[-1]["spec"]["containers"][0]["image"] = "registry.example/trimtab-server:latest"
    apply(cluster_api, objects[-1])
    findings = look(cluster_api.kubeconfig, namespace)
    told, failed = seen(findings), [f.says for f in findings if f.state == "failed" and f.check == "secrets"]
    assert failed == [
        f"Secret trimtab-s3-hook in {namespace} lacks region",
        f"no Secret trimtab-signing in {namespace}",
    ]
    assert "latest is not pinned" in told["serving runtime"].says
    assert (told["watch deployed"].state, told["hook deployed"].state) == ("ok", "ok")
    assert "a-value" not in str(findings), "what a Secret holds is never told"


def test_minio_s_setup_and_runs_of_another_namespace(cluster_api: Cluster, namespace: str) -> None:
    with cluster_api.namespace(prefix="runs") as runs:
        missing = {f.says: f.state for f in look(cluster_api.kubeconfig, namespace, runs_in=runs)}
        for says in (f"no Secret trimtab-s3-{user} in {namespace}" for user in ("pipeline", "artifacts")):
            assert says not in missing
        assert missing[f"ConfigMap trimtab-trusted-keys in {namespace} has no key"] == "failed"
        assert missing[f"ConfigMap trimtab-trusted-keys in {runs} has no key"] == "warning"
        apply(
            cluster_api,
            thing("Secret", "trimtab-minio-root", namespace, stringData={"access_key": "a"}),
            thing("Secret", "trimtab-s3-artifacts", namespace, stringData={"access_key": "a"}),
            thing("ConfigMap", "trimtab-trusted-keys", runs, data={"a.pem": "x"}),
        )
        findings = look(cluster_api.kubeconfig, namespace, runs_in=runs)
    said = {f.says for f in findings}
    assert f"no Secret trimtab-s3-pipeline in {namespace}" in said
    assert f"Secret trimtab-s3-artifacts in {namespace} lacks secret_key" in said
    assert f"ConfigMap trimtab-trusted-keys in {runs} has no key" not in said


def test_a_namespace_without_pod_security_and_with_a_long_name(cluster_api: Cluster) -> None:
    with cluster_api.namespace(restricted=False, prefix="a-team-with-a-long-name") as namespace:
        told = seen(look(cluster_api.kubeconfig, namespace))
    assert (told["Pod Security"].state, "kubectl label" in told["Pod Security"].hint) == ("warning", True)
    assert f"at most {63 - 11 - len(namespace)} characters" in told["namespace"].says
    assert seen(look(cluster_api.kubeconfig, f"none-{secrets.token_hex(4)}"))["namespace"].state == "failed"


@pytest.mark.parametrize(
    ("deploy", "ingress", "state", "words"),
    [
        ({}, {}, "warning", "mode Serverless"),
        ({"defaultDeploymentMode": "Standard"}, {}, "warning", "without the Gateway API"),
        ({"defaultDeploymentMode": "Standard"}, {"enableGatewayApi": True}, "ok", "with the Gateway API"),
        ({"defaultDeploymentMode": "RawDeployment"}, {"enableGatewayApi": True}, "ok", "with the Gateway API"),
    ],
    ids=["as installed", "no gateway", "right", "older name"],
)
def test_kserve_s_mode(
    cluster_api: Cluster, namespace: str, deploy: dict[str, Any], ingress: dict[str, Any], state: str, words: str
) -> None:
    data = {"deploy": json.dumps(deploy), "ingress": json.dumps(ingress)}
    apply(cluster_api, thing("ConfigMap", "inferenceservice-config", namespace, data=data))
    told = seen(look(cluster_api.kubeconfig, namespace, kserve_in=namespace))
    assert (told["KServe mode"].state, words in told["KServe mode"].says) == (state, True)
    assert state == "ok" or "rollout.strategy: replace" in told["KServe mode"].hint


def test_the_gateway(cluster_api: Cluster, namespace: str) -> None:
    ingress = {"enableGatewayApi": True, "kserveIngressGateway": f"{namespace}/front"}
    data = {"deploy": '{"defaultDeploymentMode": "Standard"}', "ingress": json.dumps(ingress)}
    listener = {"name": "http", "protocol": "HTTP", "port": 80}
    apply(cluster_api, thing("ConfigMap", "inferenceservice-config", namespace, data=data))
    with cluster_api.namespace() as other:

        def gateway(at: str = namespace) -> Finding:
            return seen(look(cluster_api.kubeconfig, at, kserve_in=namespace))["gateway"]

        assert (gateway().state, f"no Gateway {namespace}/front" in gateway().says) == ("failed", True)
        spec = {"gatewayClassName": "envoy", "listeners": [listener]}
        apply(cluster_api, thing("Gateway", "front", namespace, "gateway.networking.k8s.io/v1", spec=spec))
        assert "not programmed" in gateway().says
        # As a gateway's controller says it.
        condition = {
            "type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
            "lastTransitionTime": "2026-11-22T00:00:00Z",
        }  # fmt: skip
        cluster_api.kubectl(
            "patch", "gateway", "front", "-n", namespace, "--subresource=status", "--type=merge", "-p",
            json.dumps({"status": {"conditions": [condition]}}), check=True,
        )  # fmt: skip
        assert gateway().state == "ok"
        assert (gateway(other).state, "takes no routes" in gateway(other).says) == ("failed", True)
        spec["listeners"] = [{**listener, "allowedRoutes": {"namespaces": {"from": "All"}}}]
        apply(cluster_api, thing("Gateway", "front", namespace, "gateway.networking.k8s.io/v1", spec=spec))
        assert gateway(other).state == "ok"


def test_the_storage_container(cluster_api: Cluster, namespace: str) -> None:
    with as_it_was(cluster_api, "clusterstoragecontainer", "default"):
        gone(cluster_api, "clusterstoragecontainer", "default")
        assert (
            "there is no ClusterStorageContainer"
            in seen(look(cluster_api.kubeconfig, namespace))["storage container"].says
        )
        for context, state in ((None, "failed"), (SAFE, "ok")):
            container = {
                "name": "storage-initializer",
                "image": "storage",
                **({"securityContext": context} if context else {}),
            }
            apply(
                cluster_api,
                thing(
                    "ClusterStorageContainer", "default", version="serving.kserve.io/v1alpha1",
                    spec={"container": container, "supportedUriFormats": [{"prefix": "s3://"}]},
                ),
            )  # fmt: skip
            assert seen(look(cluster_api.kubeconfig, namespace))["storage container"].state == state


def test_kubeflow_s_settings(cluster_api: Cluster, namespace: str) -> None:
    def told(check: str) -> tuple[str, str]:
        finding = seen(look(cluster_api.kubeconfig, namespace, kubeflow_in=namespace))[check]
        return finding.state, finding.says

    assert told("Kubeflow retries")[0] == "not looked at"
    defaults = "spec: {templateDefaults: {retryStrategy: {limit: 2, retryPolicy: %s}}}"
    for policy, state in (("OnError", "warning"), ("Always", "ok")):
        data = {"workflowDefaults": defaults % policy}
        apply(cluster_api, thing("ConfigMap", "workflow-controller-configmap", namespace, data=data))
        assert told("Kubeflow retries")[0] == state
    provider = {"default": {"endpoint": "minio:9000"}}
    for root, providers, state, words in (
        ("", {}, "warning", "no root"),
        ("minio://trimtab/artifacts", {"minio": provider}, "failed", "no region"),
        (
            "minio://trimtab/artifacts",
            {"minio": {"default": {**provider["default"], "region": "us-east-1"}}},
            "ok",
            "go to",
        ),
    ):
        data = {"defaultPipelineRoot": root, "providers": yaml.safe_dump(providers)}
        apply(cluster_api, thing("ConfigMap", "kfp-launcher", namespace, data=data))
        assert (told("Kubeflow launcher")[0], words in told("Kubeflow launcher")[1]) == (state, True)
    named = {"default": {"region": "us-east-1", "credentials": {"secretRef": {"secretName": "trimtab-s3-artifacts"}}}}
    data = {"defaultPipelineRoot": "minio://a/b", "providers": yaml.safe_dump({"minio": named})}
    apply(cluster_api, thing("ConfigMap", "kfp-launcher", namespace, data=data))
    assert (told("Kubeflow launcher")[0], "trimtab-s3-artifacts" in told("Kubeflow launcher")[1]) == ("failed", True)
    broken = {"defaultPipelineRoot": "minio://trimtab/artifacts", "providers": "{"}
    apply(cluster_api, thing("ConfigMap", "kfp-launcher", namespace, data=broken))
    assert told("Kubeflow launcher") == ("failed", "`providers` in kfp-launcher is no YAML")


def test_gpus_and_their_quota(cluster_api: Cluster, namespace: str) -> None:
    name = f"gpu-{secrets.token_hex(4)}"
    apply(cluster_api, thing("Node", name, spec={"unschedulable": True}))
    try:
        status = json.dumps({"status": {"allocatable": {"nvidia.com/gpu": "4"}, "capacity": {"nvidia.com/gpu": "4"}}})
        cluster_api.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", status, check=True)
        assert seen(look(cluster_api.kubeconfig, namespace))["GPUs"].state == "ok"
        quota = thing("ResourceQuota", "gpus", namespace, spec={"hard": {"requests.nvidia.com/gpu": "0"}})
        apply(cluster_api, quota)
        finding = seen(look(cluster_api.kubeconfig, namespace))["GPUs"]
        assert (finding.state, "may have 0" in finding.says) == ("warning", True)
    finally:
        gone(cluster_api, "node", name)


def test_pods_that_cannot_start_are_told_with_what_to_do(cluster_api: Cluster, namespace: str) -> None:
    def event(name: str, reason: str, message: str, kind: str = "Warning") -> dict[str, Any]:
        about = {"kind": "Pod", "name": name, "namespace": namespace, "apiVersion": "v1"}
        made = thing("Event", f"{name}.{secrets.token_hex(4)}", namespace, reason=reason, message=message, type=kind)
        return {**made, "involvedObject": about, "lastTimestamp": rfc3339(utcnow())[:19] + "Z"}

    # As the kubelet and the scheduler report them.
    apply(
        cluster_api,
        event("a", "Failed", 'Failed to pull image "registry.example/x:1": not found'),
        event("b", "FailedScheduling", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        event("c", "BackOff", "Back-off restarting failed container"),
        event("d", "Scheduled", "assigned", "Normal"),
    )
    told = [f for f in look(cluster_api.kubeconfig, namespace) if f.check == "pods"]
    assert [f.says.split(":")[0] for f in told] == [f"{namespace}/a", f"{namespace}/b"]
    assert "imagePullSecrets" in told[0].hint
    assert "GPU" in told[1].hint


def test_what_an_account_may_not_see_stops_nothing(cluster_api: Cluster, namespace: str) -> None:
    account = cluster_api.as_account(namespace, "default")
    told = seen(look(account, namespace))
    assert told["Kubernetes"].state == "ok"
    assert told["secrets"].state == "not looked at"
    assert "may not read" in told["secrets"].says
    assert told["KServe"].state == "ok", "its schema can be read by everybody"


def test_an_api_that_is_not_there(tmp_path: Path, namespace: str, cluster_api: Cluster) -> None:
    config = yaml.safe_load(cluster_api.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "away").write_text(yaml.safe_dump(config))
    findings = look(tmp_path / "away", namespace)
    assert seen(findings)["Kubernetes"].state == "failed"
    assert "does not answer" in seen(findings)["Kubernetes"].says
    assert findings[-1].check == "Kubernetes", "nothing else is asked of it"
    nowhere = seen(look(tmp_path / "none", namespace))["Kubernetes"]
    assert (nowhere.state, "KUBECONFIG" in nowhere.hint) == ("failed", True)


def test_each_user_s_rights_in_the_bucket(cluster_api: Cluster, namespace: str, place: Setup, s3: S3) -> None:
    users, environ = read_users(place.users), s3.environ(place.url)

    def secret(user: str, as_user: str) -> dict[str, Any]:
        own = users[as_user]
        keys = {"access_key": own.access_key, "secret_key": own.secret_key, "endpoint": s3.settings.endpoint}
        return thing("Secret", f"trimtab-s3-{user}", namespace, stringData={**keys, "region": s3.settings.region})

    apply(cluster_api, *(secret(user, user) for user in grants.USERS))
    told = seen(look(cluster_api.kubeconfig, namespace, environ=environ))
    assert told["S3 users"].says == f"{', '.join(grants.USERS)}: may write what is theirs and nothing else"
    apply(cluster_api, secret("pipeline", "hook"))
    wrong = seen(look(cluster_api.kubeconfig, namespace, environ=environ))["S3 user pipeline"]
    assert (wrong.state, "campaigns/doctor" in wrong.says) == ("failed", True)

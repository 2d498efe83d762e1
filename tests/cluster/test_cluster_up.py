"""`manifests/cluster-up` as far as an API server goes: namespaces, secrets, settings, overlay, run twice.

What it downloads (kind, cert-manager, Envoy, KServe, Kubeflow Pipelines, the Prometheus stack) is not run here:
tests/manifests/test_cluster_up.py reads what would be.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.test_doctor_cluster import as_it_was
from tests.manifests.kustomize import MANIFESTS, Manifest
from tests.servers.kubernetes.cluster import Cluster, kubectl_program

pytestmark = pytest.mark.cluster
IMAGES = {f"{name.upper()}_IMAGE": f"trimtab-{name}:0.1.0-0123456789ab" for name in ("server", "monitor", "stage")}


class Up:
    """The script, in two namespaces of the test's own."""

    def __init__(self, cluster: Cluster, folder: Path, ours: str, runs: str) -> None:
        self.cluster, self.folder, self.ours, self.runs = cluster, folder, ours, runs

    def run(self, *words: str, program: str = "cluster-up", **environ: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "KUBECTL": kubectl_program(),
            "NAMESPACE": self.ours,
            "KUBEFLOW_NAMESPACE": self.runs,
            "WORK": str(self.folder / "work"),
        }
        return subprocess.run(
            [str(MANIFESTS / program), *words],
            env={**given, **environ}, capture_output=True, text=True, check=False, timeout=240,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def get(self, kind: str, namespace: str) -> dict[str, Manifest]:
        done = self.cluster.kubectl("get", kind, "-n", namespace, "-o", "json", check=True)
        return {one["metadata"]["name"]: one for one in json.loads(done.stdout)["items"]}

    def secret(self, name: str, namespace: str) -> dict[str, str]:
        data = self.get("secrets", namespace)[name]["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}


@pytest.fixture
def up(cluster_api: Cluster, tmp_path: Path) -> Iterator[Up]:
    """Two names that nobody has; what the script makes under them is removed."""
    ours, runs = (f"up-{secrets.token_hex(4)}" for _ in range(2))
    try:
        yield Up(cluster_api, tmp_path, ours, runs)
    finally:
        cluster_api.kubectl("delete", "namespace", ours, runs, "--ignore-not-found", "--wait=false")


def test_namespaces_secrets_and_overlay_twice(up: Up) -> None:
    words = ("--no-kind", "--only", "namespaces,secrets,overlay")
    first = up.run(*words, **IMAGES)
    assert first.returncode == 0, first.stdout + first.stderr
    kinds = ("secrets", "configmaps", "deployments", "servingruntimes", "roles", "networkpolicies")
    before = {(kind, ns): up.get(kind, ns) for kind in kinds for ns in (up.ours, up.runs)}
    again = up.run(*words, **IMAGES)
    assert again.returncode == 0, again.stdout + again.stderr
    after = {(kind, ns): up.get(kind, ns) for kind in kinds for ns in (up.ours, up.runs)}
    assert {place: versions(found) for place, found in after.items()} == {
        place: versions(found) for place, found in before.items()
    }
    labels = up.get("namespaces", up.ours)[up.ours]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (container,) = before["deployments", up.ours]["trimtab-hook"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGES["MONITOR_IMAGE"]
    settings = next(m for name, m in before["configmaps", up.ours].items() if name.startswith("trimtab-settings-"))
    assert settings["data"]["TRIMTAB_STAGE_IMAGE"] == IMAGES["STAGE_IMAGE"]
    assert settings["data"]["TRIMTAB_KUBEFLOW_NAMESPACE"] == up.runs
    assert settings["data"]["KF_PIPELINES_ENDPOINT"] == f"https://ml-pipeline-auth.{up.runs}:8443"
    (receiver, *_) = up.get("alertmanagerconfigs", up.ours)["trimtab"]["spec"]["receivers"]
    assert receiver["webhookConfigs"][0]["url"] == f"http://trimtab-hook.{up.ours}.svc:8090/alerts"
    # No value was on a command line or in what was printed.
    for name in ("trimtab-s3-hook", "trimtab-tokens"):
        secret = up.secret(name, up.ours)
        assert not any(secret[key] in first.stdout + first.stderr for key in ("secret_key", "token") if key in secret)


def test_the_secrets_are_what_our_processes_read(up: Up, tmp_path: Path) -> None:
    from trimtab.core import settings, signing
    from trimtab.core.tokens import ensure_token

    done = up.run("--no-kind", "--only", "namespaces,secrets")
    assert done.returncode == 0, done.stderr
    users = [
        up.secret(f"trimtab-s3-{u}", up.ours) for u in ("pipeline", "server", "watch", "hook", "oncall", "artifacts")
    ]
    assert len({u["access_key"] for u in users}) == len({u["secret_key"] for u in users}) == 6
    assert {u["endpoint"] for u in users} == {f"http://trimtab-minio.{up.ours}:9000"}
    for name in ("trimtab-tokens", "trimtab-server-tokens"):
        secret = up.secret(name, up.ours)
        for key, text in secret.items():
            (tmp_path / key).write_text(text)
        before = secret["tokens.json"]
        chosen = settings.load(
            {"TRIMTAB_TOKENS": str(tmp_path / "tokens.json"), "TRIMTAB_TOKEN_FILE": str(tmp_path / "token")}
        )
        # Accepted as it is: a pod whose Secret is read-only has nothing to write.
        assert ensure_token(chosen) == secret["token"]
        assert (tmp_path / "tokens.json").read_text() == before
        assert json.loads(before)["tokens"][0]["sha256"] == hashlib.sha256(secret["token"].encode()).hexdigest()
    assert up.secret("trimtab-tokens", up.ours)["token"] != up.secret("trimtab-server-tokens", up.ours)["token"]
    private = tmp_path / "signing.pem"
    private.touch(mode=0o600)
    private.write_text(up.secret("trimtab-signing", up.runs)["signing.pem"])
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    for name, text in up.get("configmaps", up.ours)["trimtab-trusted-keys"]["data"].items():
        (trusted / name).write_text(text)
    assert signing.key_id(signing.load_key(private).public_key()) in signing.trusted_keys(trusted)
    # Who signs is where runs execute; who serves cannot.
    assert "trimtab-signing" not in up.get("secrets", up.ours)
    for name in ("trimtab-s3-pipeline", "trimtab-s3-artifacts"):
        assert up.secret(name, up.runs) == up.secret(name, up.ours)


def test_kubeflows_proxy_has_a_certificate_that_the_hook_trusts(up: Up, tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.x509.verification import PolicyBuilder, Store

    done = up.run("--no-kind", "--only", "namespaces,secrets")
    assert done.returncode == 0, done.stderr
    shown = x509.load_pem_x509_certificate(up.secret("ml-pipeline-auth-tls", up.runs)["tls.crt"].encode())
    trusted = x509.load_pem_x509_certificate(
        up.get("configmaps", up.ours)["trimtab-kubeflow-ca"]["data"]["ca.crt"].encode()
    )
    assert shown == trusted
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert f"ml-pipeline-auth.{up.runs}" in names.get_values_for_type(x509.DNSName)
    assert PolicyBuilder().store(Store([trusted])) is not None


def test_a_new_signing_key_leaves_the_old_one_trusted(up: Up) -> None:
    assert up.run("--no-kind", "--only", "namespaces,secrets").returncode == 0
    before = up.get("configmaps", up.ours)["trimtab-trusted-keys"]["data"]
    up.cluster.kubectl("delete", "secret", "trimtab-signing", "-n", up.runs, check=True)
    assert up.run("--no-kind", "--only", "secrets").returncode == 0
    after = up.get("configmaps", up.ours)["trimtab-trusted-keys"]["data"]
    assert before.items() < after.items()
    assert len(after) == 2
    # Stages check the champion that they compare with.
    assert up.get("configmaps", up.runs)["trimtab-trusted-keys"]["data"] == after


def test_a_job_that_differs_is_made_anew(up: Up) -> None:
    words = ("--no-kind", "--only", "namespaces,secrets,overlay")
    assert up.run(*words, **IMAGES).returncode == 0
    changed = {**IMAGES, "MONITOR_IMAGE": "trimtab-monitor:0.1.0-ba9876543210"}
    done = up.run("--no-kind", "--only", "overlay", **changed)
    assert done.returncode == 0, done.stderr
    (container,) = up.get("jobs", up.ours)["trimtab-setup"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == changed["MONITOR_IMAGE"]


def sourced(cluster: Cluster, folder: Path, line: str, text: str) -> subprocess.CompletedProcess[str]:
    """A line with the script's own functions; `text` is its standard input."""
    return subprocess.run(
        ["bash", "-c", f'source "{MANIFESTS / "cluster-up"}"; {line}'], input=text,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": str(cluster.kubeconfig),
             "KUBECTL": kubectl_program()},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_kserves_settings_keep_what_is_not_ours(cluster_api: Cluster, tmp_path: Path) -> None:
    # The file names namespace kserve: a copy of it goes into one of the test's own.
    with cluster_api.namespace() as name:
        theirs = {"deploy": '{"defaultDeploymentMode": "Knative"}', "ingress": "{}", "logger": '{"image": "some"}'}
        one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "inferenceservice-config"}, "data": theirs}
        released = sourced(cluster_api, tmp_path, f"release -n {name} -f -", yaml.safe_dump(one))
        assert released.returncode == 0, released.stderr
        for file in ("config", "rights"):
            text = (MANIFESTS / "cluster" / "kserve" / f"{file}.yaml").read_text()
            text = text.replace("namespace: kserve", f"namespace: {name}")
            done = sourced(cluster_api, tmp_path, "apply -f -", text)
            assert done.returncode == 0, done.stderr
        done = cluster_api.kubectl("get", "configmap", "inferenceservice-config", "-n", name, "-o", "json", check=True)
        found = json.loads(done.stdout)["data"]
    assert json.loads(found["deploy"]) == {"defaultDeploymentMode": "Standard"}
    ingress = json.loads(found["ingress"])
    assert ingress["enableGatewayApi"] is True
    assert ingress["kserveIngressGateway"] == "trimtab/trimtab"
    assert found["logger"] == theirs["logger"]


def test_kserves_storage_container_stays_its_own(cluster_api: Cluster, tmp_path: Path) -> None:
    formats = [{"prefix": "s3://"}, {"prefix": "hdfs://"}]
    container = {"name": "storage-initializer", "image": "kserve/storage-initializer:some"}
    one = {
        "apiVersion": "serving.kserve.io/v1alpha1", "kind": "ClusterStorageContainer", "metadata": {"name": "default"},
        "spec": {"container": container, "supportedUriFormats": formats},
    }  # fmt: skip
    with as_it_was(cluster_api, "clusterstoragecontainer", "default"):
        cluster_api.kubectl("delete", "clusterstoragecontainer", "default", "--ignore-not-found", check=True)
        released = sourced(cluster_api, tmp_path, "release -f -", yaml.safe_dump(one))
        assert released.returncode == 0, released.stderr
        done = sourced(cluster_api, tmp_path, 'apply -f "$HERE/cluster/kserve/storage.yaml"', "")
        assert done.returncode == 0, done.stderr
        found = cluster_api.kubectl("get", "clusterstoragecontainer", "default", "-o", "json", check=True)
        spec = json.loads(found.stdout)["spec"]
    assert spec["supportedUriFormats"] == formats
    assert spec["container"]["image"] == container["image"]
    assert spec["container"]["securityContext"]["runAsNonRoot"] is True


def test_cluster_wide_files_are_valid(cluster_api: Cluster) -> None:
    for words in (("-f", str(MANIFESTS / "cluster/gateway/class.yaml")), ("-k", str(MANIFESTS / "policies"))):
        cluster_api.kubectl(
            "apply", "--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict", *words, check=True
        )


def test_without_images_it_says_what_is_missing(up: Up) -> None:
    done = up.run("--no-kind", "--only", "namespaces,overlay")
    assert done.returncode == 2
    assert "no images are known yet" in done.stderr


def versions(found: dict[str, Manifest]) -> dict[str, str]:
    """What moves on with a change; where controllers run they write a status, which is none."""
    return {
        name: str(one["metadata"].get("generation") or one["metadata"]["resourceVersion"])
        for name, one in found.items()
        if name != "kube-root-ca.crt"
    }

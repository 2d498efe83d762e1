"""What every pod of ours says of itself, on the built overlays."""

from __future__ import annotations

import itertools

import pytest
from tests.manifests.kustomize import (
    MANIFESTS,
    OVERLAYS,
    Manifest,
    build,
    documents,
    named,
    of_kind,
    overlay,
    templates,
)

KUBEFLOW = "tests/manifests/kubeflow"


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_is_bounded_probed_and_without_rights(name: str) -> None:
    for owner, template in templates(build(f"manifests/overlays/{name}")):
        spec = template["spec"]
        pod = spec.get("securityContext", {})
        runs_for_long = not owner.startswith("Job/")
        for container in spec["containers"]:
            own = container["securityContext"]
            both = {**pod, **own}
            assert own["allowPrivilegeEscalation"] is False, owner
            assert own["readOnlyRootFilesystem"] is True, owner
            assert own["capabilities"] == {"drop": ["ALL"]}, owner
            assert both["runAsNonRoot"] is True, owner
            assert isinstance(both["runAsUser"], int), owner
            assert both["runAsUser"] > 0, owner
            assert both["seccompProfile"] == {"type": "RuntimeDefault"}, owner
            for side in ("requests", "limits"):
                assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][side]), owner
            # A pod that fails says why in its status, where neither a log nor a right to read it is needed.
            if "trimtab" in container["image"]:
                assert container["terminationMessagePolicy"] == "FallbackToLogsOnError", owner
            if runs_for_long:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), owner
            writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            assert "/tmp" in writable, owner
        for volume in spec["volumes"]:
            assert "hostPath" not in volume, owner
            assert "emptyDir" not in volume or volume["emptyDir"].get("sizeLimit"), owner


def test_only_the_hook_gets_a_token_of_the_kubernetes_api() -> None:
    for owner, template in templates(build("manifests/overlays/local")):
        mounted = template["spec"].get("automountServiceAccountToken", True)
        assert mounted is (owner == "Deployment/trimtab-hook"), owner


def test_watch_and_hook_are_one_each_and_name_no_model() -> None:
    objects = build("manifests/base")
    for name, command in (("trimtab-watch", "watch"), ("trimtab-hook", "hook")):
        spec = named(objects, "Deployment", name)["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        (container,) = spec["template"]["spec"]["containers"]
        words = container["args"]
        assert words[0] == command
        values = {b for a, b in itertools.pairwise(words) if a.startswith("--") and "=" not in a}
        assert [w for w in words[1:] if not w.startswith("--") and w not in values] == []


def test_the_server_lets_gateways_go_before_it_stops() -> None:
    (container,) = named(build("manifests/serving"), "ServingRuntime", "trimtab-server-v1")["spec"]["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    # preStop and the drain fit into Kubernetes' 30 seconds of grace.
    assert "--drain-seconds=20" in container["args"]
    assert container["args"][0] == "{{.Name}}"


def test_the_signing_key_is_mounted_by_nothing_here() -> None:
    # Publish alone mounts it, by the compiled pipeline.
    for name in OVERLAYS:
        assert "trimtab-signing" not in overlay(name)


def test_roles_name_what_they_grant() -> None:
    folders = [*(f"manifests/overlays/{name}" for name in OVERLAYS), "manifests/runs"]
    for role in [r for folder in folders for r in of_kind(build(folder), "Role", "ClusterRole")]:
        for rule in role["rules"]:
            assert "*" not in str(rule), role["metadata"]["name"]
            if "secrets" in rule["resources"]:
                assert rule.get("resourceNames"), role["metadata"]["name"]
                assert rule["verbs"] == ["get"], role["metadata"]["name"]


@pytest.fixture(scope="module")
def hardened() -> list[Manifest]:
    """Kubeflow's objects with component kfp-hardening."""
    return documents(overlay("", components=["kfp-hardening"], resources=[KUBEFLOW, "manifests/runs"]))


def test_the_clusters_kustomization_is_these_two_and_kubeflows_own(hardened: list[Manifest]) -> None:
    import yaml

    there = yaml.safe_load((MANIFESTS / "cluster" / "kubeflow" / "kustomization.yaml").read_text())
    upstream, runs = there["resources"]
    assert upstream.startswith("https://github.com/kubeflow/pipelines//manifests/kustomize/env/platform-agnostic?ref=")
    assert (runs, there["components"]) == ("../../runs", ["../../components/kfp-hardening"])
    # What the component adds has no namespace by itself.
    assert there["namespace"] == "kubeflow"
    built = documents(overlay("", there["namespace"], ["kfp-hardening"], [KUBEFLOW, "manifests/runs"]))
    assert {o["metadata"]["namespace"] for o in built if o["kind"] != "ClusterRoleBinding"} == {"kubeflow"}
    subjects = [s for o in of_kind(built, "RoleBinding", "ClusterRoleBinding") for s in o["subjects"]]
    assert {s["namespace"] for s in subjects if s["name"] == "trimtab-hook"} == {"trimtab"}
    assert {s["namespace"] for s in subjects if s["name"] == "ml-pipeline"} == {"kubeflow"}
    assert len(built) == len(hardened)


def test_kubeflow_is_hardened(hardened: list[Manifest]) -> None:
    import yaml

    install = named(hardened, "ConfigMap", "pipeline-install-config")["data"]
    assert install["defaultSecurityContextRunAsNonRoot"] == "true"
    assert install["bucketName"] == "mlpipeline"
    workflows = named(hardened, "ConfigMap", "workflow-controller-configmap")["data"]
    defaults = yaml.safe_load(workflows["workflowDefaults"])["spec"]
    assert defaults["templateDefaults"]["retryStrategy"]["retryPolicy"] == "Always"
    assert defaults["ttlStrategy"]["secondsAfterCompletion"] == 3600
    assert "artifactRepository" in workflows
    (controller,) = named(hardened, "Deployment", "workflow-controller")["spec"]["template"]["spec"]["containers"]
    assert {"name": "DEFAULT_REQUEUE_TIME", "value": "1s"} in controller["env"]
    assert controller["image"].startswith("quay.io/argoproj/")
    rules = named(hardened, "Role", "pipeline-runner")["rules"]
    assert [r["resources"] for r in rules] == [["configmaps"], ["secrets"], ["workflowtaskresults"]]
    # The same where runs execute in our namespace; and of the hook's look at runs.
    base = build("manifests/base")
    assert named(base, "Role", "trimtab-pipeline")["rules"] == rules
    looks = named(hardened, "Role", "trimtab-runs")["rules"]
    assert [r for r in named(base, "Role", "trimtab-hook-rollout")["rules"] if r in looks] == looks


def test_kubeflows_api_asks_who_one_is(hardened: list[Manifest]) -> None:
    containers = named(hardened, "Deployment", "ml-pipeline")["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers][-1] == "auth" or containers[0]["name"] == "auth"
    proxy = next(c for c in containers if c["name"] == "auth")
    assert "--auth-token-audiences=pipelines.kubeflow.org" in proxy["args"]
    (policy,) = of_kind(hardened, "NetworkPolicy")
    (plain, proxied) = policy["spec"]["ingress"]
    assert {p["port"] for p in plain["ports"]} == {8887, 8888}
    assert proxied == {"ports": [{"protocol": "TCP", "port": 8443}]}
    # The hook asks there, with a token for that audience.
    local = build("manifests/overlays/local")
    settings = next(o["data"] for o in of_kind(local, "ConfigMap") if "settings-" in o["metadata"]["name"])
    assert settings["KF_PIPELINES_ENDPOINT"] == "https://ml-pipeline-auth.kubeflow:8443"
    pod = named(local, "Deployment", "trimtab-hook")["spec"]["template"]["spec"]
    (projected,) = [v["projected"]["sources"] for v in pod["volumes"] if v["name"] == "kubeflow-token"]
    assert projected[0]["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"


def test_runs_keep_their_artifacts_by_the_same_words_everywhere(hardened: list[Manifest]) -> None:
    import yaml

    there, staging, production = (
        named(objects, "ConfigMap", "kfp-launcher")["data"]
        for objects in (hardened, *(build(f"manifests/overlays/{name}") for name in ("staging", "production")))
    )
    # MinIO is in namespace trimtab, or in the overlay's own.
    assert {k: v.replace(".trimtab-staging.", ".trimtab.") for k, v in staging.items()} == there != staging
    for data in (there, staging, production):
        ((scheme, provider),) = yaml.safe_load(data["providers"]).items()
        root = data["defaultPipelineRoot"]
        for one in (provider["default"], *provider["overrides"]):
            assert one["region"]
            assert one["endpoint"] == provider["default"]["endpoint"]
            assert one["credentials"]["secretRef"]["secretName"] == "trimtab-s3-artifacts"
        assert root == f"{scheme}://{provider['overrides'][0]['bucketName']}/{provider['overrides'][0]['keyPrefix']}"

"""Every overlay and the combinations that make sense build; no key twice, every image pinned, no secret in git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.manifests.kustomize import (
    BESIDE,
    MANIFESTS,
    OVERLAYS,
    ROOT,
    DuplicateKeyError,
    build,
    documents,
    kustomize,
    named,
    of_kind,
    overlay,
    templates,
)

from trimtab.monitoring.kserve.inference_service import newest_runtime

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
# Where no registry is: a tag that ends in the image's id.
BY_ID = re.compile(r"^trimtab-(server|monitor):[\w.-]*-[0-9a-f]{12,}$")
CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding", "GatewayClass", "ClusterStorageContainer"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_builds_with_everything_pinned(name: str) -> None:
    objects = build(f"manifests/overlays/{name}")
    images = {c["image"] for _, t in templates(objects) for c in t["spec"]["containers"]}
    assert {i for i in images if not DIGEST.search(i) and not BY_ID.search(i)} == set()
    assert {o["metadata"].get("namespace", "") for o in objects if o["kind"] not in CLUSTER_SCOPED} == {
        "trimtab" if name == "local" else f"trimtab-{name}"
    }


def test_each_component_goes_with_the_base_and_all_together() -> None:
    alone = {name: len(documents(overlay("base", "some", [name]))) for name in BESIDE}
    base = len(documents(overlay("base", "some")))
    together = documents(overlay("base", "some", BESIDE))
    assert len(together) == base + sum(n - base for n in alone.values())


@pytest.mark.parametrize(
    "components",
    [
        ("minio", "network-policies"),
        ("minio", "s3-ca", "monitoring"),
        ("external-s3", "network-policies", "s3-ca"),
        ("external-s3", "quota", "gpu", "kfp-launcher"),
        ("gateway", "monitoring", "kfp-client"),
    ],
)
def test_combinations_build_in_any_order(components: tuple[str, ...]) -> None:
    def names(order: Sequence[str]) -> list[tuple[str, str]]:
        return sorted((o["kind"], o["metadata"]["name"]) for o in documents(overlay("base", "some", order)))

    # A setting that a component changes is part of its ConfigMap's name.
    assert names(components) == names(components[::-1])


def test_a_users_own_s3_authority_reaches_every_process() -> None:
    objects = documents(overlay("base", "some", ["external-s3", "s3-ca"]))
    for owner, template in templates(objects):
        (container,) = template["spec"]["containers"]
        assert {"name": "AWS_CA_BUNDLE", "value": "/etc/trimtab/s3-ca/ca.crt"} in container["env"], owner
        assert "s3-ca" in {v["name"] for v in template["spec"]["volumes"]}, owner
        # What the hook starts has it, too.
        told = {"name": "TRIMTAB_S3_CA_CONFIG_MAP", "value": "trimtab-s3-ca"} in container["env"]
        assert told or "hook" not in str(owner), owner


def test_no_key_is_twice_in_any_file() -> None:
    folders = [MANIFESTS, ROOT / "monitoring" / "rules", ROOT / ".github"]
    files = [p for f in folders for p in f.rglob("*.y*ml")] + [ROOT / "monitoring" / "kustomization.yaml"]
    assert len(files) > 40
    for file in files:
        documents(file.read_text())
    with pytest.raises(DuplicateKeyError, match="name twice, line 2"):
        documents("metadata:\n  {name: a, name: b}\n")


def test_no_secret_is_in_git() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    private = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{20}|AKIA[0-9A-Z]{16}")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.stat().st_size < 2_000_000 and path.suffix not in {".png", ".svg"}:
            assert not private.search(path.read_text(errors="ignore")), name
    for name in OVERLAYS:
        assert of_kind(build(f"manifests/overlays/{name}"), "Secret") == []


def test_placeholders_are_told_apart_from_images() -> None:
    for name in ("staging", "production"):
        objects = of_kind(build(f"manifests/overlays/{name}"), "ConfigMap")
        (settings,) = [o["data"] for o in objects if o["metadata"]["name"].startswith("trimtab-settings-")]
        assert re.search(r"@sha256:0{64}$", settings["TRIMTAB_STAGE_IMAGE"])
    text = Path(MANIFESTS / "overlays" / "production" / "kustomization.yaml").read_text()
    assert "no image has this digest" in text


def copied(name: str, folder: Path) -> Path:
    """An overlay in a repository of a user's own, as docs/kubernetes.md has it."""
    copy = folder.resolve() / "copy"
    shutil.copytree(MANIFESTS / "overlays" / name, copy)
    file = copy / "kustomization.yaml"
    way = os.path.relpath(MANIFESTS, copy)
    file.write_text(re.sub(r"^  - \.\./\.\./", f"  - {way}/", file.read_text(), flags=re.MULTILINE))
    return copy


def test_a_new_server_image_is_a_runtime_beside_the_one_that_models_are_on(tmp_path: Path) -> None:
    """docs/operations.md, Upgrade, step 4."""
    copy = copied("production", tmp_path)
    before = named(documents(kustomize(copy)), "ServingRuntime", "trimtab-server-v1")
    image = f"registry.example/trimtab-server@sha256:{'1' * 64}"
    runtime = (MANIFESTS / "serving" / "runtime-v1.yaml").read_text().replace("trimtab-server-v1", "trimtab-server-v2")
    (copy / "runtime-v2.yaml").write_text(runtime.replace("image: trimtab-server\n", f"image: {image}\n"))
    file = copy / "kustomization.yaml"
    file.write_text(file.read_text().replace("resources:\n", "resources:\n  - runtime-v2.yaml\n", 1))
    objects = documents(kustomize(copy))
    assert named(objects, "ServingRuntime", "trimtab-server-v1") == before
    added = named(objects, "ServingRuntime", "trimtab-server-v2")
    assert [c["image"] for c in added["spec"]["containers"]] == [image]
    assert newest_runtime(one["metadata"]["name"] for one in of_kind(objects, "ServingRuntime")) == "trimtab-server-v2"


@pytest.mark.parametrize("name", ["staging", "production"])
def test_a_copied_overlay_is_renamed_in_one_line(name: str, tmp_path: Path) -> None:
    copy = copied(name, tmp_path)
    text = (copy / "kustomization.yaml").read_text()
    assert len(re.findall(rf"^namespace: trimtab-{name}$", text, re.MULTILINE)) == 1
    (copy / "kustomization.yaml").write_text(text.replace(f"namespace: trimtab-{name}\n", "namespace: team-a\n"))
    objects = documents(kustomize(copy))
    (settings,) = [o["data"] for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"].startswith("trimtab-sett")]
    assert settings["TRIMTAB_KUBEFLOW_NAMESPACE"] == "team-a"
    assert named(objects, "ConfigMap", "trimtab-server")["data"]["TRIMTAB_STORE"] == settings["TRIMTAB_STORE"]
    receivers = named(objects, "AlertmanagerConfig", "trimtab")["spec"]["receivers"]
    assert receivers[0]["webhookConfigs"][0]["url"] == "http://trimtab-hook.team-a.svc:8090/alerts"
    # Its buckets may be called so.
    assert re.findall(rf"trimtab-{name}(?!-artifacts|/store).*", kustomize(copy)) == []


def test_settings_start_watch_and_hook_anew_and_leave_the_runtime_alone() -> None:
    objects = build("manifests/overlays/production")
    settings = [o["metadata"]["name"] for o in of_kind(objects, "ConfigMap") if "settings-" in o["metadata"]["name"]]
    assert len(settings) == 1
    for name in ("trimtab-watch", "trimtab-hook"):
        (container,) = named(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": settings[0]}}]
    runtime = named(objects, "ServingRuntime", "trimtab-server-v1")
    assert runtime["spec"]["containers"][0]["envFrom"] == [{"configMapRef": {"name": "trimtab-server"}}]

"""`manifests/cluster-up` as it tells itself: every pinned version is used, every step can be left out or asked for.

kind, helm and the downloads are not run by any test; what is run on an API server is in tests/cluster.
"""

from __future__ import annotations

import os
import re
import subprocess

from tests.manifests.kustomize import MANIFESTS, ROOT

SCRIPT = MANIFESTS / "cluster-up"


def tell(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *words], capture_output=True, text=True, check=False, timeout=30,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
    )  # fmt: skip


def test_every_version_of_the_list_is_used() -> None:
    said = tell("--dry-run").stdout
    text = (MANIFESTS / "versions.env").read_text()
    versions = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]", line))
    assert len(versions) == 9
    # The version of kind itself is compared with the one that is there, and named where none is.
    assert {name for name, value in versions.items() if value not in said} == {"KIND_VERSION"}
    assert "KIND_VERSION" in SCRIPT.read_text()


def test_steps_come_in_their_order_and_one_by_one() -> None:
    steps = tell("--list").stdout.split()
    told = re.findall(r"^== cluster-up: (\w+)$", tell("--dry-run").stdout, re.MULTILINE)
    assert told == steps
    # What others make must be there before what needs it.
    assert steps.index("secrets") < steps.index("kubeflow") < steps.index("overlay")
    assert steps.index("prometheus") < steps.index("scaling") < steps.index("overlay")
    assert steps.index("kserve") < steps.index("overlay")
    only = tell("--dry-run", "--only", "overlay,policies").stdout
    assert re.findall(r"^== cluster-up: (\w+)$", only, re.MULTILINE) == ["policies", "overlay"]
    rest = tell("--dry-run", "--skip", "kind,images").stdout
    assert "kind create" not in rest
    assert "make" not in rest.split()


def test_everything_is_applied_by_the_server_under_the_right_name() -> None:
    applied = [line for line in tell("--dry-run").stdout.splitlines() if " apply " in line]
    assert len(applied) >= 10
    for line in applied:
        # One that was released by others is no object of ours: what we say over it is a part of it.
        manager = "cluster-up" if "https://" in line else "trimtab"
        assert f"--server-side --force-conflicts --field-manager={manager} " in line
        assert "--context kind-trimtab" in line


def test_another_cluster_is_the_current_one() -> None:
    said = tell("--dry-run", "--no-kind", REGISTRY="registry.example/ml").stdout
    assert "--context" not in said
    assert not re.search(r"^kind ", said, re.MULTILINE)
    assert "REGISTRY=registry.example/ml" in said


def test_mistakes_are_said_in_a_sentence() -> None:
    for words, sentence in (
        (("--only", "overlays"), "no step is called overlays"),
        (("--only",), "wants steps"),
        (("--only", ""), "no step is named"),
        (("--skip", ","), "no step is named"),
        (("--no-king",), "unknown argument --no-king"),
        (("--no-kind", "--only", "images"), "name a registry"),
    ):
        done = tell(*words)
        assert done.returncode == 2
        assert done.stderr.startswith("cluster-up: ")
        assert sentence in done.stderr


def test_an_image_is_named_by_tag_or_digest_and_a_port_is_neither() -> None:
    def fields(image: str) -> subprocess.CompletedProcess[str]:
        words = f'source "{SCRIPT}"; image_fields trimtab-server "{image}"'
        return subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False, timeout=30)

    assert 'newName: "r:5000/a", newTag: "1-0123456789ab"' in fields("r:5000/a:1-0123456789ab").stdout
    assert f'newName: "r:5000/a", digest: "sha256:{"0" * 64}"' in fields(f"r:5000/a@sha256:{'0' * 64}").stdout
    refused = fields("r:5000/a")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "an image has neither digest nor tag: r:5000/a" in refused.stderr


def test_shell_scripts_are_shell() -> None:
    scripts = [SCRIPT, *(p for p in (MANIFESTS / "kind").iterdir() if p.is_file() and p.suffix == "")]
    assert len(scripts) >= 2
    for script in scripts:
        assert os.access(script, os.X_OK), script
        text = script.read_text()
        assert text.startswith("#!/usr/bin/env bash\n")
        assert "set -euo pipefail" in text
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.stderr == ""


def test_its_help_is_the_whole_of_its_head() -> None:
    done = tell("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("The whole loop's cluster")
    assert "NAMESPACE and KUBEFLOW_NAMESPACE are followed by the steps" in done.stdout
    assert done.stdout.endswith("docs/kubernetes.md says more.\n")


def test_make_cluster_up_is_the_script() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^cluster-up:.*##", makefile, re.MULTILINE)
    assert "manifests/cluster-up $(CLUSTER_ARGS)" in makefile


def test_other_namespaces_than_those_of_its_files_are_refused() -> None:
    for name in ("NAMESPACE", "KUBEFLOW_NAMESPACE"):
        done = tell("--dry-run", **{name: "elsewhere"})
        assert (done.returncode, done.stdout) == (2, "")
        assert "name the namespaces trimtab and kubeflow, not" in done.stderr
        assert "elsewhere" in done.stderr
        assert tell("--dry-run", "--skip", "kserve,kubeflow", **{name: "elsewhere"}).returncode == 0
        # What names no namespace of its own in files may be made under any name.
        assert tell("--dry-run", "--only", "secrets,overlay", **{name: "elsewhere"}).returncode == 0

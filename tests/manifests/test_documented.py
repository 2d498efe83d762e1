"""docs/kubernetes.md says what manifests ask for, and which versions they were written for."""

from __future__ import annotations

import re
import runpy

from tests.manifests.kustomize import MANIFESTS, OVERLAYS, ROOT, overlay

SECRETS = re.compile(r"\b(trimtab-(?:s3-(?!ca\b)\w+|minio-root|tokens|server-tokens|gateway-tls))\b")


def test_every_secret_that_is_asked_for_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    asked: set[str] = set()
    for name in OVERLAYS:
        asked |= set(SECRETS.findall(overlay(name)))
    assert len(asked) >= 9
    assert {a for a in asked if a not in text} == set()


def test_versions_are_said_once() -> None:
    versions = dict(
        line.split("=", 1) for line in (MANIFESTS / "versions.env").read_text().splitlines() if re.match(r"[A-Z]", line)
    )
    kubeflow = (MANIFESTS / "cluster" / "kubeflow" / "kustomization.yaml").read_text()
    assert f"?ref={versions['KFP_VERSION']}\n" in kubeflow
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    assert {n: v for n, v in versions.items() if v.split("@")[0] not in text} == {}


def test_the_picture_is_what_the_code_draws() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "architecture.py"))
    assert (ROOT / "docs" / "architecture.svg").read_text() == made["drawn"](), "run: python docs/architecture.py"
    # No word runs out of its box, at 7.2 units a letter of 12.
    for box in made["BOXES"].values():
        assert all(len(line) * 7.2 <= box.width for line in box.words), box.title

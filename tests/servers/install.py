"""Bring the real servers that tests use into `.servers/`: `make servers`. Instant when they are there."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import install_browser, install_docker, install_prometheus
from tests.servers.kubernetes import install as install_kubernetes

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".servers"
# Release RELEASE.2025-09-07T16-13-09Z: module proxies refuse that tag (it is no semantic version) and take the
# pseudo-version of its commit.
MINIO = "github.com/minio/minio@v0.0.0-20250907161309-07c3a429bfed"


def main(folder: Path = FOLDER, containers: bool = True) -> int:
    """Install what is not there; 0 when tests have their servers.

    Args:
        folder: where to.
        containers: also dockerd and Kubernetes, which tests marked `images` and `cluster` use; else kubectl alone.
    """
    code = minio(folder) or install_prometheus.install(folder / "prometheus") or install_browser.install()
    if code:
        return code
    if not containers:
        return install_kubernetes.install_kubectl(folder / "kubernetes")
    return install_docker.install(folder / "docker") or install_kubernetes.install(folder / "kubernetes")


def minio(folder: Path) -> int:
    """Build MinIO with Go; 0 when tests have an S3."""
    if os.environ.get("TRIMTAB_TEST_S3"):
        print("== servers: TRIMTAB_TEST_S3 is set, tests use that S3")
        return 0
    target, stamp = folder / "minio", folder / "minio.version"
    if os.access(target, os.X_OK) and (not stamp.exists() or stamp.read_text().strip() == MINIO):
        return 0
    if shutil.which("go") is None:
        print(
            "make servers: no Go toolchain was found, and MinIO is built with it.\n"
            "  Install Go 1.24 or later (https://go.dev/dl), or point the tests at any S3 instead:\n"
            "  TRIMTAB_TEST_S3=s3://bucket/prefix with AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
            file=sys.stderr,
        )
        return 2
    print(f"== servers: go install {MINIO} (about 5 minutes the first time)", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build:
        environment = {**os.environ, "GOBIN": build, "CGO_ENABLED": "0"}
        code = subprocess.run(["go", "install", MINIO], env=environment, check=False).returncode
        if code != 0:
            print(
                f"make servers: `go install {MINIO}` failed (exit {code}); its words are above.\n"
                "  It needs Go 1.24 or later and a module proxy (go env GOPROXY). Any S3 will do instead:\n"
                "  TRIMTAB_TEST_S3=s3://bucket/prefix with AWS_*",
                file=sys.stderr,
            )
            return 1
        (Path(build) / "minio").replace(target)
    stamp.write_text(MINIO + "\n")
    print(f"== servers: {target}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Bring the servers that tests use.")
    parser.add_argument("--without-containers", action="store_true", help="no dockerd, and of Kubernetes kubectl alone")
    sys.exit(main(containers=not parser.parse_args().without_containers))

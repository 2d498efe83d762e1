"""The CRDs that our manifests and our rollout controller speak to, out of their projects' Go modules.

KServe's API is at 0.20 here: the first release whose InferenceService has `spec.canary`. Argo's are the short ones,
without fields: they are there for the rights on WorkflowTaskResults, not for validation.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

_KSERVE = "github.com/kserve/kserve@v0.20.0"
_GATEWAY = "sigs.k8s.io/gateway-api@v1.4.0"
_PROMETHEUS = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
_ARGO = "github.com/argoproj/argo-workflows/v3@v3.7.3"
SOURCES = {
    _KSERVE: [
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
        "config/crd/full/serving.kserve.io_servingruntimes.yaml",
        "config/crd/full/serving.kserve.io_clusterservingruntimes.yaml",
        "config/crd/full/clusterstoragecontainer/serving.kserve.io_clusterstoragecontainers.yaml",
    ],
    _GATEWAY: [
        "config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml",
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        "config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml",
    ],
    _PROMETHEUS: [
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_alertmanagerconfigs.yaml",
    ],
    _ARGO: [
        "manifests/base/crds/minimal/argoproj.io_workflows.yaml",
        "manifests/base/crds/minimal/argoproj.io_workflowtaskresults.yaml",
        "manifests/base/crds/minimal/argoproj.io_workflowtemplates.yaml",
    ],
}


def collect(target: Path) -> str:
    """Put every CRD into a folder as `<name of the CRD>.yaml`; what went wrong, empty when nothing did."""
    target.mkdir(parents=True, exist_ok=True)
    for module, files in SOURCES.items():
        print(f"== servers: CRDs of {module}", flush=True)
        # No go.mod of ours takes part: these modules want other Kubernetes versions than the one that is built.
        done = subprocess.run(
            ["go", "mod", "download", "-json", module],
            cwd=target,
            env={**os.environ, "GOWORK": "off", "GO111MODULE": "on", "GOFLAGS": "-mod=mod"},
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(done.stdout or "{}")
        if "Dir" not in found:
            return f"`go mod download {module}` failed: {found.get('Error') or done.stderr.strip()}"
        for file in files:
            # controller-gen names a file <group>_<plural>.yaml, the API names the CRD <plural>.<group>.
            group, _, plural = Path(file).stem.partition("_")
            shutil.copyfile(Path(found["Dir"]) / file, target / f"{plural}.{group}.yaml")
    return ""

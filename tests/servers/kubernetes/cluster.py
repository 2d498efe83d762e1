"""A Kubernetes as tests use it: kubectl, a client, accounts, namespaces. Ours (see api_server, node) or any other."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tests.servers.kubernetes.processes import wait_until

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

FOLDER = Path(__file__).resolve().parents[3] / ".servers" / "kubernetes"
BIN, CRDS = FOLDER / "bin", FOLDER / "crds"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
    "pod-security.kubernetes.io/warn": "restricted",
}


class Cluster:
    """A Kubernetes API that is there, reached as its administrator.

    Args:
        kubeconfig: the administrator's.
        folder: for files of ours: kubectl's cache, accounts' kubeconfigs.

    Attributes:
        kubeconfig: the administrator's kubeconfig file.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.kubeconfig, self.folder = kubeconfig, folder
        self._made_crds: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def kubectl(
        self,
        *args: str,
        input: str | None = None,
        kubeconfig: Path | None = None,
        check: bool = False,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, as administrator unless another kubeconfig is given; nothing of the user's reaches it.

        Args:
            args: kubectl's arguments.
            input: its standard input, for `-f -`.
            kubeconfig: whose rights it has.
            check: fail with its words where its exit status is not 0.
            timeout: seconds.

        Returns:
            Exit status, standard output and standard error.

        Raises:
            AssertionError: with `check`, it failed.
        """
        done = subprocess.run(
            [kubectl_program(), *args],
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(self.folder),
                "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                "KUBECACHEDIR": str(self.folder / "cache"),
            },
        )
        said = done.stderr.strip() or done.stdout.strip()
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)}: exit {done.returncode}: {said}"
        return done

    def client(self, kubeconfig: Path | None = None) -> ApiClient:
        """A client of the API, as administrator or with the rights of a kubeconfig; close it, or use `with`."""
        from kubernetes import config

        return config.new_client_from_config(str(kubeconfig or self.kubeconfig), persist_config=False)

    def as_account(self, namespace: str, name: str, seconds: int = 3600) -> Path:
        """A kubeconfig with which a ServiceAccount that is there acts, by a token that lives `seconds`."""
        done = self.kubectl("create", "token", name, "-n", namespace, f"--duration={seconds}s", check=True)
        content = yaml.safe_load(self.kubeconfig.read_text())
        context = next(c["context"] for c in content["contexts"] if c["name"] == content["current-context"])
        cluster = next(c for c in content["clusters"] if c["name"] == context["cluster"])
        target = self.folder / "accounts" / f"{namespace}.{name}.kubeconfig"
        target.parent.mkdir(exist_ok=True)
        write_kubeconfig(target, cluster["cluster"], {"token": done.stdout.strip()}, namespace)
        return target

    @contextlib.contextmanager
    def namespace(self, restricted: bool = True, wait: bool = False, prefix: str = "t") -> Iterator[str]:
        """A namespace of a name that nobody has used, with its `default` ServiceAccount; removed at the end.

        Args:
            restricted: Pod Security `restricted` is enforced in it.
            wait: the end waits until it is gone, with everything in it.
            prefix: of its name.
        """
        name = f"{prefix}-{secrets.token_hex(4)}"
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {**(RESTRICTED if restricted else {}), "trimtab.test": "1"}},
        }
        self.kubectl("create", "-f", "-", input=yaml.safe_dump(manifest), check=True)
        try:
            wait_until(
                lambda: self.kubectl("get", "serviceaccount", "default", "-n", name).returncode == 0,
                60,
                f"ServiceAccount default in {name}",
            )
            yield name
        finally:
            self.kubectl(
                "delete", "namespace", name, "--ignore-not-found", f"--wait={str(wait).lower()}", "--timeout=90s",
                check=wait,
            )  # fmt: skip

    def apply_crds(self) -> None:
        """Apply the CRDs of `.servers/kubernetes/crds/` that the cluster lacks; `remove_crds` takes them back."""
        there = set(self.kubectl("get", "crd", "-o", "name", check=True).stdout.split())
        files = {f"customresourcedefinition.apiextensions.k8s.io/{f.stem}": f for f in sorted(CRDS.glob("*.yaml"))}
        missing = [name for name in files if name not in there]
        if missing:
            # KServe's are too long for the annotation that a client-side apply leaves.
            arguments = [a for name in missing for a in ("-f", str(files[name]))]
            self.kubectl("apply", "--server-side", "--force-conflicts", *arguments, check=True)
            self._made_crds += missing
            wait_until(lambda: self._established(missing), 60, "the CRDs", every=0.3)

    def _established(self, crds: list[str]) -> bool:
        # `kubectl wait` fails where a CRD has no condition at all yet.
        wanted = 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Established")].status}{" "}{end}'
        return self.kubectl("get", *crds, "-o", wanted).stdout.split() == ["True"] * len(crds)

    def remove_crds(self) -> None:
        """Remove the CRDs that `apply_crds` made here."""
        if self._made_crds:
            self.kubectl("delete", "--ignore-not-found", "--wait=false", *self._made_crds)
            self._made_crds = []


def kubectl_program() -> str:
    """Our kubectl, or the one on PATH where ours has not been built."""
    ours = BIN / "kubectl"
    return str(ours) if ours.exists() else shutil.which("kubectl") or str(ours)


def write_kubeconfig(target: Path, cluster: dict[str, object], user: dict[str, object], namespace: str = "") -> Path:
    """Write a kubeconfig of one cluster and one user, readable by its owner alone."""
    context = {"cluster": "tests", "user": "user", **({"namespace": namespace} if namespace else {})}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "tests", "context": context}],
        "current-context": "tests",
    }
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(content))
    return target

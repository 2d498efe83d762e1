"""Kubernetes as a doctor reads it: whatever KUBECONFIG or the pod's account lets see, and nothing changed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS, TRIES = 10.0, 2
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Unseen(Exception):
    """This account may not look there.

    Attributes:
        what: the path that was asked for.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)


class Unreachable(Exception):
    """The API does not answer, or nobody knows where it is; says why."""


class Kube:
    """Reads objects by their paths in the API.

    Args:
        kubeconfig: a kubeconfig file; empty takes KUBECONFIG, ~/.kube/config, or the pod's own account.

    Attributes:
        namespace: the context's namespace, or the pod's.

    Raises:
        Unreachable: there is no configuration.
    """

    def __init__(self, kubeconfig: str = "") -> None:
        try:
            from kubernetes import client, config
            from kubernetes.config.config_exception import ConfigException
        except ImportError:
            raise Unreachable("its client is not installed: pip install 'trimtab[kubernetes]'") from None
        self.namespace = "default"
        settings = client.Configuration()
        try:
            if not kubeconfig and in_pod():
                config.load_incluster_config(client_configuration=settings)
                self.namespace = (ACCOUNT / "namespace").read_text().strip()
            else:
                config.load_kube_config(kubeconfig or None, client_configuration=settings)
                _, active = config.list_kube_config_contexts(kubeconfig or None)
                self.namespace = active["context"].get("namespace") or "default"
        except (ConfigException, OSError) as error:
            raise Unreachable(str(error)) from None
        except Exception as error:  # noqa: BLE001 - one that is no YAML, or a list, is found out by whatever breaks
            raise Unreachable(f"the kubeconfig cannot be read ({type(error).__name__})") from None
        settings.retries = False  # pyright: ignore[reportAttributeAccessIssue] - its stub knows None alone
        self.host = str(settings.host)
        self._client = client.ApiClient(settings)

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at a path; None where there is none.

        Raises:
            Unseen: this account may not read it.
            Unreachable: the API does not answer, or answers with trouble of its own.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        for left in reversed(range(TRIES)):
            try:
                answer: Any = self._client.call_api(
                    path, "GET", auth_settings=["BearerToken"], response_type="object", _request_timeout=SECONDS
                )
                return dict(answer[0])
            except ApiException as error:
                if error.status == 404:
                    return None
                if error.status == 403:
                    raise Unseen(path) from None
                if not left:
                    raise Unreachable(f"{error.status} {error.reason}") from None
            except HTTPError as error:
                if not left:
                    why = str(getattr(error, "reason", None) or error).rsplit(": ", 1)[-1]
                    raise Unreachable(why) from None
        raise AssertionError("the last try returns or raises")

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list; none where the kind is unknown.

        Raises:
            Unseen: this account may not list them.
            Unreachable: as `get`.
        """
        return list((self.get(path) or {}).get("items") or [])

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def in_pod() -> bool:
    """Whether this process runs in a pod that has an account."""
    return (ACCOUNT / "token").exists()


def core(namespace: str, kind: str, name: str = "") -> str:
    """The path of a core object, or of a list of them."""
    return f"/api/v1/namespaces/{namespace}/{kind}" + (f"/{name}" if name else "")


def custom(group: str, version: str, kind: str, name: str = "", namespace: str = "") -> str:
    """The path of an object of another API group, or of a list of them."""
    place = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{group}/{version}/{place}{kind}" + (f"/{name}" if name else "")


def decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    """The entries of a Secret, as texts."""
    return {
        k: base64.b64decode(v or "").decode(errors="replace").strip() for k, v in (secret.get("data") or {}).items()
    }

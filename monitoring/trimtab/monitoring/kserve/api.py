"""The few verbs of the Kubernetes API that the rollout needs, over the official client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from trimtab.core.errors import ProjectError, RolloutError

MANAGER = "trimtab-rollout"
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
Object = dict[str, Any]


class ApiError(RolloutError):
    """The Kubernetes API refused, or did not answer.

    Args:
        status: the HTTP status; 0 where there was no answer.
        message: what it said.
        fields: of a conflict, the fields that other managers own.
    """

    def __init__(self, status: int, message: str, fields: Sequence[str] = (), **facts: Any) -> None:
        self.status = status
        self.fields = tuple(fields)
        super().__init__(message, **facts)


class Api(Protocol):
    """The verbs. Every one raises `ApiError`."""

    def get(self, path: str) -> Object | None:
        """An object; None where there is none, or no such kind."""
        ...

    def list(self, path: str, labels: str = "") -> list[Object]:
        """The objects of a collection, by a label selector; none where there is no such kind."""
        ...

    def apply(self, path: str, body: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply as `trimtab-rollout`, unknown fields refused."""
        ...

    def merge(self, path: str, body: Object) -> Object:
        """A JSON merge patch as `trimtab-rollout`."""
        ...

    def delete(self, path: str) -> None:
        """Delete an object; nothing happens where there is none."""
        ...


def namespace() -> str:
    """The namespace that this process runs in; `default` outside a cluster."""
    return _NAMESPACE.read_text().strip() if _NAMESPACE.is_file() else "default"


class KubernetesApi:
    """The API server that a pod's ServiceAccount or KUBECONFIG names.

    Args:
        client: a `kubernetes.client.ApiClient`; by default made from the pod's ServiceAccount, else from KUBECONFIG.
        timeout: seconds to wait for one answer.
        manager: the field manager.

    Raises:
        ProjectError: neither is there.
    """

    def __init__(self, client: Any = None, timeout: float = 10.0, manager: str = MANAGER) -> None:
        self._manager = manager
        self._client = client if client is not None else _client()
        self._timeout = timeout

    def get(self, path: str) -> Object | None:
        """An object; None where there is none."""
        try:
            return self._call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, path: str, labels: str = "") -> list[Object]:
        """The objects of a collection."""
        try:
            found = self._call("GET", path, {"labelSelector": labels} if labels else {})
        except ApiError as error:
            if error.status == 404:
                return []
            raise
        return list(found.get("items") or [])

    def apply(self, path: str, body: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply."""
        query = {"fieldManager": self._manager, "force": "true" if force else "false", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self._call("PATCH", path, query, body, "application/apply-patch+yaml")

    def merge(self, path: str, body: Object) -> Object:
        """A JSON merge patch."""
        return self._call("PATCH", path, {"fieldManager": self._manager}, body, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Delete an object."""
        try:
            self._call("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def _call(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Object | None = None, kind: str = ""
    ) -> Object:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if kind else {})
        try:
            answer = self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=self._timeout,
            )
            return dict(json.loads(answer.data or b"{}"))
        except ApiException as error:
            raise _said(method, path, error) from None
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(
                0,
                "the Kubernetes API does not answer",
                object=f"{method} {path}",
                got=f"{type(error).__name__}: {error}"[:300],
                hint="what serves goes on serving; it is tried again",
            ) from None


def _said(method: str, path: str, error: Any) -> ApiError:
    """The API's own words: its Status object has a message and, of a conflict, the fields."""
    try:
        told = json.loads(error.body or "{}")
    except ValueError:
        told = {}
    message = str(told.get("message") or error.reason or "no reason given")
    causes = (told.get("details") or {}).get("causes") or []
    fields = [str(c.get("field", "")) for c in causes if c.get("reason") == "FieldManagerConflict"]
    hint = "give the hook's ServiceAccount the Role trimtab-hook-rollout" if error.status in {401, 403} else ""
    return ApiError(int(error.status or 0), message[:1000], fields, object=f"{method} {path}", hint=hint)


def _client() -> Any:
    from kubernetes import client, config

    settings: Any = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=settings)
        except Exception as error:  # noqa: BLE001 - one that is no YAML, or a list, is found out by whatever breaks
            raise ProjectError(
                "no Kubernetes API is known here",
                got=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300],
                hint="run the hook in a pod with a ServiceAccount, or name a file with KUBECONFIG",
            ) from None
    settings.retries = 2  # pyright: ignore[reportAttributeAccessIssue] - its stub knows None alone
    return client.ApiClient(settings)

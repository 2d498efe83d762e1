"""Where Kubeflow's API is and who one is to it: host, TLS, token, headers, client certificate.

The host is found as kfp.Client finds it: what is given, `KF_PIPELINES_ENDPOINT`, inside a cluster the service of
`kubeflow`, else the API server's proxy by the user's kubeconfig. Secrets are read from files when a request is made
(a projected ServiceAccount token changes every hour) and stand in no `repr`, log or command line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from trimtab.core.settings import KubeflowSettings

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
KUBE_PROXY = "api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
CONTEXT = Path(".config/kfp/context.json")
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
FORWARD = "kubectl -n kubeflow port-forward svc/ml-pipeline 8888 makes it http://127.0.0.1:8888"


@dataclass(frozen=True)
class Access:
    """How requests reach the API and prove who sends them.

    Attributes:
        host: base URL without a slash at the end.
        ui: base URL under which people see runs.
        namespace: the runs' namespace in multi-user mode; empty where there is none.
        token_file: bearer token, read anew for each request; empty for none.
        headers: further headers with their values' origin: text, `@FILE` or `env:VARIABLE`.
        ca_bundle, client_cert, client_key: PEM files; empty for the system's and none.
    """

    host: str
    ui: str = ""
    namespace: str = ""
    token_file: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_bundle: str = ""
    client_cert: str = ""
    client_key: str = ""

    def current(self) -> dict[str, str]:
        """The headers of a request made now.

        Raises:
            ProjectError: a file or variable that one of them names cannot be read, or holds what no header can.
        """
        found = {name: _value(name, origin) for name, origin in self.headers}
        if self.token_file:
            found["Authorization"] = f"Bearer {_read(self.token_file, 'the token file')}"
        return found

    def run_url(self, run_id: str) -> str:
        """Where people look at a run."""
        return f"{self.ui or self.host}/#/runs/details/{run_id}"


def find_access(
    settings: KubeflowSettings,
    *,
    host: str = "",
    namespace: str = "",
    token_file: str = "",
    headers: Sequence[str] = (),
    home: Path | None = None,
) -> Access:
    """Find the API.

    Args:
        settings: what the environment says.
        host: the API's URL; empty looks further, as kfp.Client does.
        namespace: the runs' namespace.
        token_file: a file with a bearer token.
        headers: `name=value`, `name=@FILE` or `name=env:VARIABLE`.
        home: the user's home folder.

    Raises:
        ProjectError: no host is named anywhere, or a header, file or URL is wrong.
    """
    home = home or Path.home()
    given = host or settings.endpoint
    access = Access(
        host=_url(given, "--host" if host else "KF_PIPELINES_ENDPOINT") if given else "",
        ui=_url(settings.ui_endpoint, "KF_PIPELINES_UI_ENDPOINT") if settings.ui_endpoint else "",
        namespace=namespace or settings.namespace or _own_namespace(home),
        token_file=token_file or settings.token_file,
        headers=(*_header_file(settings.header_file), *(_header(h) for h in headers)),
        ca_bundle=settings.ca_bundle,
        client_cert=settings.client_cert,
        client_key=settings.client_key,
    )
    for name in ("ca_bundle", "client_cert", "client_key"):
        if getattr(access, name) and not Path(getattr(access, name)).is_file():
            raise ProjectError("there is no such file", object=name, got=getattr(access, name))
    _check_pem(access)
    if access.host:
        return access
    if settings.kubernetes:
        token = access.token_file or (str(IN_CLUSTER_TOKEN) if IN_CLUSTER_TOKEN.is_file() else "")
        return replace(access, host=IN_CLUSTER, token_file=token)
    return _by_kubeconfig(access)


def _check_pem(access: Access) -> None:
    """Say which variable names a file that is no certificate or no key; a connection would only break."""
    import ssl

    context = ssl.create_default_context()
    try:
        if access.ca_bundle:
            context.load_verify_locations(access.ca_bundle)
    except (OSError, ValueError) as error:
        raise _no_pem("TRIMTAB_KUBEFLOW_CA", access.ca_bundle, error) from None
    try:
        if access.client_cert:
            context.load_cert_chain(access.client_cert, access.client_key or None, password=lambda: "")
    except (OSError, ValueError) as error:
        raise _no_pem("TRIMTAB_KUBEFLOW_CERT, TRIMTAB_KUBEFLOW_KEY", access.client_cert, error) from None


def _no_pem(variable: str, file: str, error: Exception) -> ProjectError:
    said = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return ProjectError(f"{variable} cannot be used", object=file, expected="PEM, a key without a password", got=said)


def _by_kubeconfig(access: Access) -> Access:
    """The API behind the cluster's own, as kfp.Client reaches it where nothing else is said."""
    try:
        from kubernetes import client, config

        found: Any = client.Configuration()
        config.load_kube_config(client_configuration=found)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it names no cluster
        raise ProjectError(
            "no Kubeflow API is named",
            object="--host",
            expected="its URL by --host or KF_PIPELINES_ENDPOINT",
            got=f"no kubeconfig either ({type(error).__name__})",
            hint=FORWARD,
        ) from None
    headers = access.headers
    token = (found.api_key or {}).get("authorization")
    if token and not access.token_file:
        headers = (*headers, ("Authorization", str(token)))
    return replace(
        access,
        host=f"{str(found.host).rstrip('/')}/{KUBE_PROXY}",
        headers=headers,
        ca_bundle=access.ca_bundle or found.ssl_ca_cert or "",
        client_cert=access.client_cert or found.cert_file or "",
        client_key=access.client_key or found.key_file or "",
    )


def _url(text: str, what: str) -> str:
    """A base URL; a bare `host:port` means http, as for kfp.Client."""
    import urllib.parse

    from trimtab.core.urls import without_secrets

    whole = without_secrets(text if "://" in text else f"http://{text}", what)
    parts = urllib.parse.urlsplit(whole)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ProjectError("no API has such a URL", object=what, expected="http(s)://host[:port][/path]", got=text)
    return whole.rstrip("/").removesuffix("/#").rstrip("/")


def _own_namespace(home: Path) -> str:
    """The namespace that kfp.Client remembers, else the pod's own."""
    try:
        return str(json.loads((home / CONTEXT).read_text()).get("namespace", ""))
    except (OSError, ValueError, AttributeError):
        pass
    try:
        return POD_NAMESPACE.read_text().strip()
    except OSError:
        return ""


def _header(text: str) -> tuple[str, str]:
    name, separator, origin = text.partition("=")
    if not separator or not name.strip() or not name.strip().isascii() or any(c in text for c in "\r\n"):
        raise ProjectError("a header is written", object="--header", expected="name=value, name=@FILE or name=env:NAME")
    return name.strip(), origin.strip()


def _header_file(path: str) -> tuple[tuple[str, str], ...]:
    lines = [line.strip() for line in _text(path, "the headers' file").splitlines()] if path else []
    pairs = [(n.strip(), v.strip()) for n, _, v in (line.partition(":") for line in lines if line)]
    if any(not n.isascii() or not n.isprintable() or " " in n or not v for n, v in pairs):
        raise ProjectError("a line of the headers' file is none", object=path, expected="name: value")
    return tuple(pairs)


def _value(name: str, origin: str) -> str:
    if origin.startswith("@"):
        return _read(origin[1:], f"the file of header {name}")
    if origin.startswith("env:"):
        value = os.environ.get(origin[4:])
        if value is None:
            raise ProjectError(f"the variable of header {name} is not set", object=origin[4:])
        return _sendable(value, f"the variable of header {name}", origin[4:])
    return _sendable(origin, "a header", name)


def _read(path: str, what: str) -> str:
    return _sendable(_text(path, what), what, path)


def _text(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "no text"
        raise ProjectError(f"{what} cannot be read", object=path, got=said or type(error).__name__) from None


def _sendable(value: str, what: str, where: str) -> str:
    """The value, if a header can carry it. The error names where it stands and never shows it.

    Whatever sends it would refuse it, too, with the whole of it in its message.
    """
    if value and value.isascii() and value.isprintable():
        return value
    got = "nothing" if not value else "several lines" if "\n" in value or "\r" in value else "other characters"
    raise ProjectError(f"{what} holds what no request can carry", object=where, expected="printable ASCII", got=got)

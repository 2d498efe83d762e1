"""Requests to Kubeflow's API: time-outs for the whole answer, bounded retries of what may be repeated, plain errors.

The generated client (kfp-server-api) waits for ever and tries nothing twice; its models are used, its transport not.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import RunError, RunRefused
from trimtab.core.store.retry import Retry
from trimtab.pipelines.kubeflow_auth import FORWARD

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

    from trimtab.pipelines.kubeflow_auth import Access

MOST_BYTES = 64 << 20
_CHUNK = 1 << 16
CERTIFICATE = "name one that it knows by TRIMTAB_KUBEFLOW_CERT and TRIMTAB_KUBEFLOW_KEY"
_REFUSED = tuple(f"ALERT_{a}" for a in ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_", "DECRYPT_ERROR"))


class KubeflowError(RunError):
    """The API answered with a fault of its own, or with something that is no answer.

    Attributes:
        status: the HTTP status; 0 where none came.
        said: the API's own words.
    """

    status = 0
    said = ""


class KubeflowUnreachable(KubeflowError):
    """No answer came: nothing listens there, the way is cut, or the time was up."""


class KubeflowRefused(KubeflowError, RunRefused):
    """The API refused the request (4xx)."""

    exit_code = 2


@dataclass(frozen=True)
class Limits:
    """How long and how often.

    Attributes:
        connect_seconds: for a connection.
        answer_seconds: for a whole answer, however slowly it trickles.
        retry: for requests that may be repeated.
    """

    connect_seconds: float = 5.0
    answer_seconds: float = 30.0
    retry: Retry = field(default_factory=lambda: Retry(attempts=4, base=0.3, cap=3.0))


@dataclass(frozen=True)
class _Request:
    """What is sent, as `Transport.json` takes it."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    file: tuple[str, bytes] | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        shown = urllib.parse.urlencode({k: v for k, v in self.query.items() if v not in (None, "")})
        return f"{self.path}?{shown}" if shown else self.path


class Transport:
    """Sends requests; safe to share between threads.

    Args:
        access: where to and as whom.
        limits: how long and how often.
    """

    def __init__(self, access: Access, limits: Limits | None = None) -> None:
        self.access = access
        self._limits = limits or Limits()
        self._pool = _pool(access)

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        file: tuple[str, bytes] | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        """One request, its answer parsed.

        Args:
            method: GET, POST, DELETE.
            path: below the host, `/apis/…`.
            query: parameters; None and empty ones are left out.
            body: JSON to send.
            file: name and bytes of a file to upload in place of a body.
            repeatable: whether sending it twice does no harm; by default GET and DELETE.

        Raises:
            KubeflowRefused: 4xx.
            KubeflowError: 5xx after the retries, or an answer that is no JSON.
            KubeflowUnreachable: no answer.
        """
        again = method in ("GET", "DELETE") if repeatable is None else repeatable
        raw = self._tried(_Request(method, path, query or {}, body, file), again)
        if not raw.strip():
            return {}
        try:
            return json.loads(raw)
        except ValueError:
            page = raw.lstrip()[:1] == b"<"
            raise KubeflowError(
                "what answers is not Kubeflow Pipelines' API" if page else "the API's answer is no JSON",
                object=self.access.host,
                got="a web page" if page else repr(raw[:80])[1:],
                hint="give the API's own address by --host, and a token or header if a login stands before it",
            ) from None

    def raw(self, path: str) -> bytes:
        """The bytes that a GET is answered with; errors as of `json`."""
        return self._tried(_Request("GET", path), True)

    def _tried(self, request: _Request, again: bool) -> bytes:
        last: KubeflowError | None = None
        for _ in self._limits.retry.tries():
            try:
                return self._once(request)
            except KubeflowError as error:
                last = error
                passing = isinstance(error, KubeflowUnreachable) or error.status >= 500 or error.status == 429
                # A connection that nobody took up did nothing, whatever the request was.
                unsent = isinstance(error, KubeflowUnreachable) and error.said == "unsent"
                if not passing or not (again or unsent):
                    raise
        assert last is not None
        raise last

    def _once(self, request: _Request) -> bytes:
        import urllib3

        headers = {"Accept": "application/json", **self.access.current()}
        until = time.monotonic() + self._limits.answer_seconds
        options: dict[str, Any] = {}
        if request.file is not None:
            options["fields"] = {"uploadfile": (*request.file, "application/yaml")}
        elif request.body is not None:
            options["body"] = json.dumps(request.body).encode()
            headers["Content-Type"] = "application/json"
        try:
            answer = self._pool.request(
                request.method, f"{self.access.host}{request.target}", headers=headers,
                preload_content=False, redirect=False, retries=False,
                timeout=urllib3.Timeout(connect=self._limits.connect_seconds, read=self._limits.answer_seconds),
                **options,
            )  # fmt: skip
            try:
                raw = _all_of(answer, until)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, TimeoutError, OSError) as error:
            raise _unreachable(self.access.host, error) from None
        if answer.status // 100 == 2:
            return raw
        raise refusal(answer.status, raw, self.access.host, request.path)


def _pool(access: Access) -> PoolManager:
    import urllib3

    extra: dict[str, Any] = {}
    if access.host.startswith("https"):
        import certifi

        extra = {
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": access.ca_bundle or certifi.where(),
            "cert_file": access.client_cert or None,
            "key_file": access.client_key or None,
        }
    return urllib3.PoolManager(maxsize=4, **extra)


def _all_of(answer: BaseHTTPResponse, until: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(_CHUNK):
        parts.append(part)
        size += len(part)
        if time.monotonic() > until:
            raise TimeoutError("the answer did not end")
        if size > MOST_BYTES:
            raise TimeoutError(f"the answer is larger than {MOST_BYTES >> 20} MiB")
    return b"".join(parts)


def _unreachable(host: str, error: Exception) -> KubeflowUnreachable:
    import urllib3

    reason: BaseException = getattr(error, "reason", None) or error
    text = str(reason)
    hint = "look whether it runs (kubectl -n kubeflow get pods) and is reached from here"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        what, hint = "its certificate is not trusted", "name the CA by TRIMTAB_KUBEFLOW_CA"
    elif "CERTIFICATE_REQUIRED" in text:
        what, hint = "it wants a client certificate", CERTIFICATE
    elif any(alert in text for alert in _REFUSED):
        what, hint = "it does not take the client certificate", CERTIFICATE
    elif isinstance(error, TimeoutError | urllib3.exceptions.ReadTimeoutError):
        what = "it does not answer in time"
    elif "Name or service not known" in text or "getaddrinfo" in text or "resolve" in text.lower():
        what, hint = "there is no host of that name", "check --host or KF_PIPELINES_ENDPOINT"
    elif "refused" in text:
        what, hint = (
            "nothing listens there",
            f"does the port-forward run? {FORWARD}",
        )
    elif isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        what = "nobody takes the connection up"
    else:
        what = f"the connection broke ({type(reason).__name__})"
    found = KubeflowUnreachable("Kubeflow's API cannot be reached", object=host, got=what, hint=hint)
    found.said = "unsent" if isinstance(error, urllib3.exceptions.NewConnectionError) else what
    return found


def words(raw: bytes) -> str:
    """What an error's body says: uploads and the rest of the API use different fields, some say nothing.

    >>> words(b'{"code": 5, "message": "no", "details": [{"message": "run x not found"}]}')
    'run x not found'
    >>> words(b'{"error_message": "bad yaml", "error_details": "line 3"}')
    'bad yaml'
    >>> words(b"")
    ''
    """
    try:
        body = json.loads(raw)
    except ValueError:
        text = raw.decode(errors="replace").strip()
        return "" if text.startswith("<") else text[:300]
    if not isinstance(body, dict):
        return str(body)[:300]
    details = [d.get("message") for d in body.get("details") or [] if isinstance(d, dict) and d.get("message")]
    plain = [body.get(name) for name in ("message", "error", "error_details")]
    said = [text for text in (body.get("error_message"), *details, *plain) if text]
    return str(said[0])[:600] if said else ""


_HINTS = {
    401: "give a token (--token-file or KF_PIPELINES_SA_TOKEN_PATH; a ServiceAccount's needs the audience "
    "pipelines.kubeflow.org) or a header (--header)",
    403: "ask for rights in that namespace, or name another by --namespace",
}


def refusal(status: int, raw: bytes, host: str, path: str) -> KubeflowError:
    """The error behind an answer that is none of success."""
    said = words(raw)
    what = {
        400: "the API does not take the request",
        401: "the API does not know who asks",
        403: "the API does not allow it",
        404: "the API has no such thing",
        409: "the API has one of that name",
        429: "the API is asked too often",
    }.get(status, "the API refused" if status < 500 else "the API failed")
    hint = _HINTS.get(status, "")
    if 300 <= status < 400:
        what, hint = "a login stands before the API", _HINTS[401]
    kind = KubeflowRefused if 300 <= status < 500 and status != 429 else KubeflowError
    error = kind(f"{what} ({status})", object=f"{host}{path}", got=said or "no words", hint=hint)
    error.status, error.said = status, said
    return error

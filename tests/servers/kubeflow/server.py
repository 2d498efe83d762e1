"""The stand-in's HTTP side: paths, answers, faults."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import re
import socket
import ssl
import sys
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers.kubeflow.backend import ApiError, Backend, Item, NeverAnswers, parse_package
from tests.servers.kubeflow.cluster import ClusterObjects
from tests.servers.kubeflow.executors import Executor
from tests.servers.kubeflow.faults import Fault, Faults
from tests.servers.kubeflow.models import Misfit, check

V2 = "/apis/v2beta1"
LOGIN = b"<!doctype html><title>Log in</title>"


class StandIn:
    """A running stand-in on a port of its own; a context manager.

    Args:
        executor: plays the tasks of runs.
        require: headers that every request must bring, else 401.
        forbid: pattern of `METHOD path` that is answered with 403.
        tls: certificate and key file of an https server.
        client_ca: file of the CA that clients' certificates must be of.
        address: where it listens; loopback unless pods are to reach it.
        options: as `Backend`'s.

    Attributes:
        backend: what it remembers.
        faults: what is to fail.
        cluster: pods, events and Workflows of the cluster that it claims to run on.
        requests: each request as `METHOD path?query`, in order.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        require: Mapping[str, str] | None = None,
        forbid: str = "",
        tls: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
        address: str = "127.0.0.1",
        **options: Any,
    ) -> None:
        self.backend = Backend(executor, **options)
        self.faults = Faults()
        self.cluster = ClusterObjects()
        self.require = dict(require or {})
        self.forbid = forbid
        self.requests: list[str] = []
        self.closing = threading.Event()
        self._server = _Server(self, address)
        scheme = "http"
        if tls is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, tls))
            if client_ca is not None:
                context.load_verify_locations(str(client_ca))
                context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        name = "localhost" if address == "127.0.0.1" else address
        self.url = f"{scheme}://{name}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="kfp-stand-in", daemon=True
        )

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> StandIn:
        """Start it without a `with`."""
        return self.__enter__()

    def close(self) -> None:
        """End it and its runs."""
        self.closing.set()
        self.backend.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: StandIn, address: str) -> None:
        self.owner = owner
        super().__init__((address, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away and handshakes that fail are no news; whom TLS refuses is to hear why, not a reset."""
        if isinstance(sys.exception(), ssl.SSLError):
            with contextlib.suppress(OSError):
                request.settimeout(2.0)
                request.shutdown(socket.SHUT_WR)
                while request.recv(1 << 16):
                    pass


Answer = tuple[int, bytes, str]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        owner = self.server.owner
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urllib.parse.urlsplit(self.path)
        request = f"{method} {parts.path}"
        owner.requests.append(f"{method} {self.path}")
        fault = owner.faults.take(request)
        if fault is not None and fault.how != "lost" and not self._before(fault, parts.path):
            return
        try:
            answer = self._answer(method, parts, raw)
        except NeverAnswers:
            self._hang()
            return
        if fault is not None:
            self._after(fault, answer)
            return
        self._send(*answer)

    def _answer(self, method: str, parts: urllib.parse.SplitResult, raw: bytes) -> Answer:
        owner = self.server.owner
        query = {k: v[-1] for k, v in urllib.parse.parse_qs(parts.query).items()}
        upload = "/upload" in parts.path
        try:
            if any(self.headers.get(name) != value for name, value in owner.require.items()):
                raise ApiError(401, "Request header error: there is no user identity header.", upload=upload)
            if owner.forbid and re.fullmatch(owner.forbid, f"{method} {parts.path}"):
                raise ApiError(403, "User is not authorized with reason", upload=upload)
            if parts.path.startswith(("/api/", "/apis/argoproj.io")):
                return _json(owner.cluster.answer(method, parts.path, query))
            return _route(owner.backend, method, parts.path, query, raw, dict(self.headers))
        except ApiError as error:
            return error.status, json.dumps(error.body).encode(), "application/json"
        except Misfit as error:
            wrong = ApiError(400, str(error))
            return wrong.status, json.dumps(wrong.body).encode(), "application/json"

    def _before(self, fault: Fault, path: str) -> bool:
        """Do what a fault asks for before the request is looked at; True to go on."""
        if fault.how == "answer":
            error = ApiError(fault.status, fault.words, upload="/upload" in path)
            self._send(fault.status, json.dumps(error.body).encode(), "application/json")
        elif fault.how == "empty":
            self._send(fault.status, b"", "application/json")
        elif fault.how == "hang":
            self._hang()
        elif fault.how == "reset":
            self._reset()
        elif fault.how == "page":
            self._send(200, LOGIN, "text/html")
        elif fault.how == "redirect":
            self.send_response(302)
            self.send_header("Location", "/dex/auth")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            return True
        return False

    def _after(self, fault: Fault, answer: Answer) -> None:
        """Spoil an answer whose request has been done."""
        status, body, kind = answer
        if fault.how == "lost":
            self._reset()
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + (10 if fault.how == "break" else 0)))
        self.end_headers()
        if fault.how == "break":
            self.wfile.write(body[: len(body) // 2])
            self._reset()
            return
        for byte in body:  # trickle
            if self.server.owner.closing.wait(0.2):
                break
            with contextlib.suppress(OSError):
                self.wfile.write(bytes([byte]))
                self.wfile.flush()

    def _hang(self) -> None:
        self.server.owner.closing.wait()
        self.close_connection = True

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def _json(value: Any, status: int = 200) -> Answer:
    return status, json.dumps(value).encode(), "application/json"


def _route(
    backend: Backend, method: str, path: str, query: Mapping[str, str], raw: bytes, headers: Mapping[str, str]
) -> Answer:
    for pattern, verb, do in _ROUTES:
        found = re.fullmatch(pattern, path)
        if found and verb == method:
            return _json(do(backend, _Request(found.groups(), dict(query), raw, headers)))
    log = re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path)
    if log and method == "GET":
        return _log(backend, log[1], log[2])
    raise ApiError(404, "Not Found")


def _log(backend: Backend, run_id: str, node: str) -> Answer:
    """A pod's log as text; an unknown node is 200 with an error in JSON."""
    run = backend.runs.get(run_id)
    if run is None or node not in run.logs:
        return 200, json.dumps({"error": f"failed to retrieve the log of {node}"}).encode(), "text/plain"
    return 200, run.logs[node].encode(), "text/plain"


class _Request:
    def __init__(self, groups: tuple[str, ...], query: dict[str, str], raw: bytes, headers: Mapping[str, str]) -> None:
        self.groups, self.query, self.raw, self.headers = groups, query, raw, headers

    def body(self, model: str) -> Item:
        """The JSON body, held to a model."""
        try:
            body = json.loads(self.raw or b"{}")
        except ValueError:
            raise ApiError(400, "invalid character looking for beginning of value") from None
        check(body, model)
        return dict(body)

    def file(self) -> bytes:
        """The uploaded file of a form."""
        kind = next((v for k, v in self.headers.items() if k.lower() == "content-type"), "")
        form = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + self.raw,
                                        policy=email.policy.HTTP)  # fmt: skip
        for part in form.iter_parts() if form.is_multipart() else ():
            if part.get_param("name", header="content-disposition") == "uploadfile":
                body = part.get_payload(decode=True)
                assert isinstance(body, bytes)
                return body
        raise ApiError(400, "Failed to read the uploaded file", upload=True)


def _listed(request: _Request, key: str, items: list[Item], wire: str = "") -> Item:
    """A page of a list, filtered, sorted and cut as asked."""
    for predicate in json.loads(request.query.get("filter") or "{}").get("predicates", []):
        # Filters are read as protobuf's JSON, which takes both spellings and an enum's number.
        predicate = {"string_value" if k == "stringValue" else k: v for k, v in predicate.items()}
        predicate["operation"] = "EQUALS" if predicate["operation"] == 1 else predicate["operation"]
        check(predicate, "V2beta1Predicate")
        if predicate["operation"] != "EQUALS":
            raise ApiError(400, f"operation {predicate['operation']} is not played here")
        value = predicate.get("string_value")
        field = predicate["key"]
        items = [i for i in items if i.get(field) == value]
    namespace = request.query.get("namespace", "")
    if namespace and items and "namespace" in items[0]:
        items = [i for i in items if i.get("namespace") in ("", namespace)]
    by, _, direction = request.query.get("sort_by", "").partition(" ")
    items = sorted(items, key=lambda i: str(i.get(by or "created_at")), reverse=direction == "desc")
    start = int(request.query.get("page_token") or 0)
    size = min(int(request.query.get("page_size") or 10), 200)
    told: Item = {wire or key: items[start : start + size], "total_size": len(items)}
    if start + size < len(items):
        told["next_page_token"] = str(start + size)
    if not told[wire or key]:
        del told[wire or key]  # an empty list is left out
    return told


def _one(items: Mapping[str, Item], name: str, noun: str) -> Item:
    if name not in items:
        raise ApiError(404, f"{noun} {name} not found")
    return items[name]


def _experiments(b: Backend, r: _Request) -> Item:
    if b.multi_user and not r.query.get("namespace"):
        raise ApiError(400, "In multi-user mode, ListExperiments must filter by namespace")
    return _listed(r, "experiments", list(b.experiments.values()))


def _upload_pipeline(b: Backend, r: _Request) -> Item:
    package = r.file()
    ir, _ = parse_package(package)
    name = r.query.get("name") or ir["pipelineInfo"]["name"]
    made = b.create_pipeline({"name": name, **{k: v for k, v in r.query.items() if k != "tags"}}, upload=True)
    b.upload_version(made["pipeline_id"], name, package, {})
    return made


def _runs(b: Backend, r: _Request) -> Item:
    if b.multi_user and not (r.query.get("namespace") or r.query.get("experiment_id")):
        raise ApiError(400, "In multi-user mode, ListRuns must filter by namespace or experiment")
    items = [b.get_run(i) for i in list(b.runs)]
    if r.query.get("experiment_id"):
        items = [i for i in items if i["experiment_id"] == r.query["experiment_id"]]
    return _listed(r, "runs", items)


def _quiet(call: Callable[..., None], *arguments: str) -> Item:
    call(*arguments)
    return {}


def _drop(items: dict[str, Item], name: str, noun: str) -> Item:
    _one(items, name, noun)
    del items[name]
    return {}


_ID = "([^/:]+)"
_ROUTES: list[tuple[str, str, Callable[[Backend, _Request], Any]]] = [
    (f"{V2}/healthz", "GET", lambda b, r: {"tag_name": b.version, "multi_user": b.multi_user}),
    (f"{V2}/experiments", "GET", _experiments),
    (f"{V2}/experiments", "POST", lambda b, r: b.create_experiment(r.body("V2beta1Experiment"))),
    (f"{V2}/experiments/{_ID}", "GET", lambda b, r: _one(b.experiments, r.groups[0], "Experiment")),
    (f"{V2}/pipelines", "GET", lambda b, r: _listed(r, "pipelines", list(b.pipelines.values()))),
    (f"{V2}/pipelines", "POST", lambda b, r: b.create_pipeline(r.body("V2beta1Pipeline"))),
    (f"{V2}/pipelines/upload", "POST", _upload_pipeline),
    (f"{V2}/pipelines/upload_version", "POST", lambda b, r: b.upload_version(
        r.query.get("pipelineid", ""), r.query.get("name", ""), r.file(), r.query)),
    (f"{V2}/pipelines/{_ID}", "GET", lambda b, r: _one(b.pipelines, r.groups[0], "Pipeline")),
    (f"{V2}/pipelines/{_ID}/versions", "GET", lambda b, r: _listed(
        r, "pipeline_versions", [v for v in b.versions.values() if v["pipeline_id"] == r.groups[0]])),
    (f"{V2}/pipelines/{_ID}/versions/{_ID}", "GET", lambda b, r: _one(b.versions, r.groups[1], "PipelineVersion")),
    (f"{V2}/pipelines/{_ID}/versions/{_ID}", "DELETE", lambda b, r: _quiet(b.delete_version, r.groups[1])),
    (f"{V2}/runs", "GET", _runs),
    (f"{V2}/runs", "POST", lambda b, r: b.create_run(r.body("V2beta1Run"))),
    (f"{V2}/runs/{_ID}", "GET", lambda b, r: b.get_run(r.groups[0])),
    (f"{V2}/runs/{_ID}", "DELETE", lambda b, r: _quiet(b.delete_run, r.groups[0])),
    (f"{V2}/runs/{_ID}:terminate", "POST", lambda b, r: _quiet(b.terminate, r.groups[0])),
    (f"{V2}/recurringruns", "GET", lambda b, r: _listed(r, "recurringRuns", list(b.recurring.values()))),
    (f"{V2}/recurringruns", "POST", lambda b, r: b.create_recurring(r.body("V2beta1RecurringRun"))),
    (f"{V2}/recurringruns/{_ID}", "GET", lambda b, r: _one(b.recurring, r.groups[0], "RecurringRun")),
    (f"{V2}/recurringruns/{_ID}", "DELETE", lambda b, r: _drop(b.recurring, r.groups[0], "RecurringRun")),
]  # fmt: skip

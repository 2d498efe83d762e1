"""Plays the gateway: an HTTP proxy that routes by the weights of an HTTPRoute, as the API has them at that moment.

It stands for Envoy Gateway or Istio: one attempt a request, a new connection to the Service's address each time,
503 where nothing answers there, 502 where an answer breaks off. What it cannot show is those gateways' own delays in
taking over new weights; it looks every quarter of a second.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from trimtab.monitoring.kserve.api import ApiError, KubernetesApi
from trimtab.monitoring.kserve.observe import ROUTES

if TYPE_CHECKING:
    from tests.servers.kubernetes.cluster import Cluster

LOOK_SECONDS = 0.25
TIMEOUT = 30.0
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"})


@dataclass(frozen=True)
class Backend:
    """One Service behind a route: its name, the address of its cluster IP, its weight."""

    name: str
    host: str
    port: int
    weight: int


class Gateway:
    """A proxy before the server pods of one namespace; `with Gateway(…) as gateway` starts and ends it.

    Args:
        cluster: whose routes.
        namespace: of the routes and Services.
        route: name of the HTTPRoute.
        address: the address to listen on.

    Attributes:
        url: its base URL.
        weights: names of the Services to their weights, as last seen.
        sent: requests by Service.
    """

    def __init__(self, cluster: Cluster, namespace: str, route: str, address: str = "127.0.0.1") -> None:
        self.namespace, self.route = namespace, route
        self.sent: Counter[str] = Counter()
        self._client = cluster.client()
        self._api = KubernetesApi(self._client)
        self._addresses: dict[str, str] = {}
        self._backends: tuple[Backend, ...] = ()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="gateway", daemon=True),
            threading.Thread(target=self._look, name="gateway-routes", daemon=True),
        ]

    @property
    def weights(self) -> Mapping[str, int]:
        """The weights by Service."""
        return {b.name: b.weight for b in self._backends}

    def __enter__(self) -> Gateway:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(timeout=10)
        self._client.close()

    def choose(self) -> Backend | None:
        """A backend by weight; None where no route has one."""
        backends = [b for b in self._backends if b.weight > 0]
        return random.choices(backends, [b.weight for b in backends])[0] if backends else None

    def _look(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            # The API server may be away for a moment: what was last seen counts on, as with a real gateway.
            with contextlib.suppress(ApiError):
                route = self._api.get(f"{ROUTES.format(self.namespace)}/{self.route}") or {}
                self._backends = tuple(self._backend(ref) for ref in references(route))

    def _backend(self, reference: Mapping[str, Any]) -> Backend:
        name, port = str(reference["name"]), int(reference.get("port") or 80)
        if name not in self._addresses:
            self._addresses[name] = self._address(name)
        return Backend(name, self._addresses[name], port, int(reference.get("weight", 1)))

    def _address(self, service: str) -> str:
        """Where a Service is reached."""
        found = self._api.get(f"/api/v1/namespaces/{self.namespace}/services/{service}")
        if found is None:
            raise ApiError(404, f"there is no Service {service}")
        return str(found["spec"]["clusterIP"])


def references(route: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The backends of a route's last rule, the one that takes every path."""
    rules: Sequence[Any] = (route.get("spec") or {}).get("rules") or [{}]
    return [dict(ref) for ref in rules[-1].get("backendRefs") or []]


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            backend = gateway.choose()
            if backend is None:
                self._answer(503, [("content-type", "text/plain")], b"no route")
                return
            gateway.sent[backend.name] += 1
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            upstream = http.client.HTTPConnection(backend.host, backend.port, timeout=TIMEOUT)
            try:
                upstream.connect()
            except OSError as error:
                self._answer(503, [("content-type", "text/plain")], f"{backend.name}: {error}".encode())
                return
            try:
                upstream.request(self.command, self.path, body or None, headers)
                got = upstream.getresponse()
                kept = [(k, v) for k, v in got.getheaders() if k.lower() not in _HOP]
                self._answer(got.status, kept, got.read())
            except (OSError, http.client.HTTPException) as error:
                self._answer(502, [("content-type", "text/plain")], f"{backend.name}: {error!r}".encode())
            finally:
                upstream.close()

        def _answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the load counts."""

    return Handler

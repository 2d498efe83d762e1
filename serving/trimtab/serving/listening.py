"""Where a server listens: sockets for requests, and the one that Prometheus asks."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

# Connections that may wait for a server to take them.
BACKLOG = 2048
# Files that a server needs beside its connections: spool, store, model, metrics.
SPARE_FILES = 128


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        ProjectError: the port is taken or none, or the host is not this machine's.
    """
    return _bind(host, port, shared=False)


def listen_shared(host: str, port: int, count: int) -> tuple[list[socket.socket], socket.socket]:
    """Several sockets on one port, one for each worker; the kernel spreads connections over those that listen.

    Each worker has a queue of its own, which outlives it in the process that made the socket: connections that wait
    there when a worker dies are taken by the one started in its place.

    Returns:
        the sockets, and what keeps others from sharing the port until it is closed.

    Raises:
        ProjectError: as `listen`.
    """
    # Sockets that may share a port would also share it with another server of the same user: look first.
    with listen(host, port) as free:
        port = free.getsockname()[1]
        guard = _guard(host, port)
    return [_bind(host, port, shared=True) for _ in range(count)], guard


def _guard(host: str, port: int) -> socket.socket:
    """A name in the network namespace that only one process can hold: Linux's abstract sockets."""
    guard = socket.socket(socket.AF_UNIX)
    if sys.platform == "linux":
        try:
            guard.bind(f"\0trimtab-{port}")
        except OSError as error:
            guard.close()
            raise _taken(host, port, error) from None
    return guard


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    if not 0 <= port <= 65535:  # the resolver would silently take it modulo 65536
        raise ProjectError("there is no such port", object=str(port), expected="0 to 65535")
    bound: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        if not shared:
            # At once: two sockets may be bound to one port as long as neither listens. What comes meanwhile waits.
            bound.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if bound is not None:
            bound.close()
        raise _taken(host, port, error) from None
    return bound


def _taken(host: str, port: int, error: Exception) -> ProjectError:
    return ProjectError(
        "cannot listen there",
        object=f"{host}:{port}",
        got=getattr(error, "strerror", "") or str(error),
        hint="choose another with --port, --metrics-port or --host",
    )


def allow_connections(count: int) -> int:
    """Let this process open so many connections beside its files, as far as the system lets it.

    Returns:
        how many it may open; fewer than asked for where the hard limit is lower.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return count if soft == resource.RLIM_INFINITY else max(1, min(count, soft - SPARE_FILES))


def serve_metrics(
    bound: socket.socket, model: str, dumps: Callable[[], Iterable[dict[str, Any]]]
) -> Callable[[], None]:
    """Serve `/metrics` on a bound socket from a thread of its own; returns what ends it.

    What that needs is imported when the first scraper comes: it is a tenth of a server's start.

    Args:
        bound: the socket.
        model: the model's name, a label of nearly every metric.
        dumps: what `Metrics.dump` gave, of each worker.
    """
    ending, end = os.pipe()

    def work() -> None:
        server: WSGIServer | None = None
        sources: list[Any] = [bound, ending]
        while ending not in select.select(sources, [], [])[0]:
            server = server or _metrics_server(bound, model, dumps)
            server.handle_request()

    thread = threading.Thread(target=work, name="metrics", daemon=True)
    thread.start()

    def close() -> None:
        os.write(end, b".")
        thread.join(5)
        bound.close()
        if not thread.is_alive():
            os.close(ending)
        os.close(end)

    return close


def _metrics_server(bound: socket.socket, model: str, dumps: Callable[[], Iterable[dict[str, Any]]]) -> WSGIServer:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from prometheus_client import CollectorRegistry, make_wsgi_app

    from trimtab.serving.scrape import Scrape

    class Quiet(WSGIRequestHandler):
        timeout = 10

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a line."""

    class Server(ThreadingMixIn, WSGIServer):  # a slow scraper holds up nobody
        daemon_threads, block_on_close = True, False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A scraper that breaks off is not worth a line either."""

    registry = CollectorRegistry()
    Scrape(registry, model, dumps)
    server = Server(("", 0), Quiet, bind_and_activate=False)
    server.timeout = 1.0  # who asked may be gone again
    server.socket.close()
    server.socket = bound
    server.server_address = bound.getsockname()
    server.server_name, server.server_port = bound.getsockname()[:2]
    server.setup_environ()
    server.set_app(make_wsgi_app(registry))
    return server

"""Where a server listens: sockets for requests, and the one that Prometheus asks."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

# Scrapers that may wait for the one before them.
SCRAPERS = 5
# Files that a server needs beside its connections: spool, store, model, metrics.
SPARE_FILES = 128


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        ProjectError: the port is taken or none, or the host is not this machine's.
    """
    return _bind(host, port, shared=False)


def listen_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """Several sockets on one port, one for each worker; the kernel spreads connections over those that listen.

    Each worker has a queue of its own, which outlives it in the process that made the socket: connections that wait
    there when a worker dies are taken by the one started in its place.

    Raises:
        ProjectError: as `listen`.
    """
    # Sockets that may share a port would also share it with another server of the same user: look first.
    with listen(host, port) as free:
        port = free.getsockname()[1]
    return [_bind(host, port, shared=True) for _ in range(count)]


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    if not 0 <= port <= 65535:  # the resolver would silently take it modulo 65536
        raise ProjectError("there is no such port", object=str(port), expected="0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        raise ProjectError(
            "cannot listen there",
            object=f"{host}:{port}",
            got=error.strerror or str(error),
            hint="choose another with --port, --metrics-port or --host",
        ) from None
    return bound


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
    bound.listen(SCRAPERS)
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
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from prometheus_client import CollectorRegistry, make_wsgi_app

    from trimtab.serving.scrape import Scrape

    class Quiet(WSGIRequestHandler):
        timeout = 10  # a scraper that connects and says nothing must not hold up the next

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a line."""

    registry = CollectorRegistry()
    Scrape(registry, model, dumps)
    server = WSGIServer(("", 0), Quiet, bind_and_activate=False)
    server.timeout = 1.0  # who asked may be gone again
    server.socket.close()
    server.socket = bound
    server.server_address = bound.getsockname()
    server.server_name, server.server_port = bound.getsockname()[:2]
    server.setup_environ()
    server.set_app(make_wsgi_app(registry))
    return server

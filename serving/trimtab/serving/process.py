"""One server process: wires app, log, follower, metrics and shipper, runs until told to stop, drains."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from trimtab.core.errors import ProjectError
from trimtab.core.privacy import hash_key
from trimtab.core.store import open_store
from trimtab.core.tokens import TokenFile
from trimtab.serving.admission import Admission
from trimtab.serving.app import BULK_BYTES, Asgi, InferenceApp
from trimtab.serving.batcher import Batcher
from trimtab.serving.config import ServerConfig
from trimtab.serving.follower import Follower
from trimtab.serving.keys import Keys, key_required
from trimtab.serving.listening import allow_connections, listen, serve_metrics
from trimtab.serving.log import PredictionLog
from trimtab.serving.metrics import Metrics
from trimtab.serving.shadow import Shadow
from trimtab.serving.spool import finished
from trimtab.serving.supervisor import Shipper
from trimtab.serving.trace import make_tracing
from trimtab.serving.traffic import Traffic

if TYPE_CHECKING:
    from trimtab.core.settings import Settings
    from trimtab.serving.fixed import Fixed

logger = logging.getLogger(__name__)

# How long the line at the start waits for a store that does not answer.
START_SECONDS = 10.0
# How long a thread keeps the interpreter while another waits for it: Python's own 5 ms would be seen in the tail.
SWITCH_SECONDS = 0.0005
# Of malloc.h; and how much free memory at the end of the heap is kept.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 16 << 20
# What a worker reads from the process that keeps it: finish what is in flight and end, or end at once.
DRAIN, FORCE = b".", b"!"


class Ready(NamedTuple):
    """What a server can say once it knows what it serves.

    Attributes:
        rest, metrics: the ports.
        version: the champion, or none.
        why: why nothing serves, where there is no champion.
    """

    rest: int
    metrics: int
    version: str
    why: str


def run_server(
    config: ServerConfig,
    settings: Settings,
    on_ready: Callable[[Ready], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests in flight, write the log, ship it, and return.

    Args:
        config: what to serve and where; with several workers this process only keeps them.
        settings: S3's settings, home of the hash key, log level.
        on_ready: told once the ledger was read or the store did not answer for `START_SECONDS`.

    Raises:
        ProjectError: a port is taken.
        StoreUnfit: the store cannot keep the contract.
    """
    if config.workers > 1:
        gc.enable()  # this process only keeps the others
        from trimtab.serving.workers import run_workers

        run_workers(config, settings, on_ready)
        return
    rest, metrics_socket = listen(config.host, config.port), listen(config.host, config.metrics_port)
    ports = rest.getsockname()[1], metrics_socket.getsockname()[1]
    metrics = Metrics(config.model)
    owner = own_folder(config)
    shipper = Shipper(config, metrics, settings.log_level)
    close_metrics = serve_metrics(metrics_socket, config.model, lambda: [metrics.dump()])

    def ready(traffic: Traffic) -> None:
        shipper.start()  # not before: its imports would take a processor from the model's start
        if on_ready is not None:
            on_ready(Ready(*ports, traffic.champion.version if traffic.champion else "", traffic.why))

    try:
        logger.info(
            "listening",
            extra={
                "model": config.model,
                "host": config.host,
                "port": ports[0],
                "metrics_port": ports[1],
                "server": config.name,
            },
        )
        answer(config, settings, rest, metrics, ready)
    finally:
        shipper.finish(lambda: unshipped(config))
        close_metrics()
        leave_folder(config)
        owner.close()


def answer(
    config: ServerConfig,
    settings: Settings,
    rest: socket.socket,
    metrics: Metrics,
    ready: Callable[[Traffic], None],
    orders: int | None = None,
) -> None:
    """Answer requests on a bound socket until told to stop; then finish those in flight and write the log.

    Args:
        config: what to serve.
        settings: S3's settings, home of the hash key.
        rest: the bound socket.
        metrics: counts.
        ready: told what serves, or why nothing does.
        orders: of a worker: the file descriptor that tells it to stop; see `workers`.

    Raises:
        StoreUnfit: the store cannot keep the contract.
    """
    store = open_store(config.store, settings, on_error=metrics.store_error)
    log = PredictionLog(config, metrics, hash_key(settings.home))
    app = InferenceApp(config, log, metrics, TokenFile(config.tokens, "feedback"), _site(log, metrics))
    keys = app.keys = Keys(config.tokens, key_required(config.require_key, config.host, []))
    tracing = app.tracing = make_tracing(settings.otlp_endpoint, config.model, config.name)
    admission = app.admission = Admission(lambda: app.traffic, config.runs, config.latency_ms, config.deadline_ms)
    shadow = app.shadow = Shadow(metrics, admission)
    batcher = app.batcher = Batcher(config.runs, config.latency_ms, metrics.ran)

    def publish(traffic: Traffic) -> None:
        keys.required = key_required(config.require_key, config.host, traffic.auths)
        app.traffic = traffic
        shadow.model = traffic.shadow

    follower: Follower | Fixed
    if config.bundle:
        from trimtab.serving.fixed import Fixed

        follower = Fixed(config, settings, store, log, metrics, publish)
    else:
        follower = Follower(config, store, log, metrics, publish)
    try:
        log.start()
        follower.start()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(app, rest, config, follower, lambda: ready(app.traffic), orders))
    finally:
        follower.stop()
        shadow.close()
        log.close()
        batcher.close()
        tracing.close()
        app.close()


def own_folder(config: ServerConfig) -> IO[bytes]:
    """Make this start's folder of the spool and hold its lock, which tells others that its owner lives."""
    folder = config.home / config.name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Held before it has its name: a shipper that finds it free would take its owner for dead.
        fresh = folder / ".owner.new"
        lock = fresh.open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.replace(folder / "owner.lock")
    except OSError as error:
        raise ProjectError(
            "the spool cannot be written",
            object=str(config.spool),
            got=error.strerror or str(error),
            hint="name another folder with --spool or TRIMTAB_SPOOL",
        ) from None
    return lock


def leave_folder(config: ServerConfig) -> None:
    """Remove this start's folder when everything in it has been shipped; else the next start ships it."""
    if not unshipped(config):
        shutil.rmtree(config.home / config.name, ignore_errors=True)


def unshipped(config: ServerConfig) -> bool:
    """Whether this start's spool, its workers' included, holds what is not in the store."""
    folders = [path for path in config.home.iterdir() if path.name.startswith(config.name)]
    return any(finished(folder / part, abandoned=True) for folder in folders for part in ("log", "labels"))


def _site(log: PredictionLog, metrics: Metrics) -> Callable[[InferenceApp], Asgi]:
    def build(app: InferenceApp) -> Asgi:
        from trimtab.serving.site import build_site

        return build_site(app, log, metrics)

    return build


async def _serve(
    app: InferenceApp,
    bound: socket.socket,
    config: ServerConfig,
    follower: Follower | Fixed,
    ready: Callable[[], None],
    orders: int | None,
) -> None:
    from trimtab.serving.lean import uvicorn_parts

    uvicorn_config, uvicorn_server = uvicorn_parts()
    from trimtab.serving.fast import fast
    from trimtab.serving.protocol import Patience, protocol

    class Server(uvicorn_server):  # type: ignore[misc, valid-type]
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Ours below: uvicorn's would end the process by the signal before the log is written."""
            yield

    connections = allow_connections(config.max_connections)
    if connections < config.max_connections:
        logger.warning("the system lets this process open only %d connections (ulimit -n)", connections)
    # uvicorn's own warnings (bytes that are no HTTP, say) as lines of ours.
    logging.getLogger("uvicorn.error").handlers = logging.getLogger("trimtab").handlers
    server = Server(
        uvicorn_config(
            app,
            http=fast(
                app,
                protocol(
                    Patience(
                        connections=connections,
                        head_seconds=config.head_seconds,
                        body_seconds=config.body_seconds,
                    )
                ),
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=config.keep_alive_seconds,  # type: ignore[arg-type]  # handed to call_later
            timeout_graceful_shutdown=max(1, int(config.drain_seconds)),
        )
    )

    def stop(signal_name: str = "") -> None:
        if signal_name and not server.should_exit:
            logger.info(
                "%s: draining; requests in flight are answered, then the log is written and shipped", signal_name
            )
        server.force_exit = server.should_exit  # asked twice: do not wait for connections
        server.should_exit = True

    loop = asyncio.get_running_loop()

    def ordered(descriptor: int) -> None:
        order = os.read(descriptor, 64)
        if not order:  # the process that keeps the workers is gone
            loop.remove_reader(descriptor)
        server.force_exit = server.force_exit or FORCE in order
        server.should_exit = True

    if orders is not None:
        loop.add_reader(orders, ordered, orders)
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, RuntimeError):  # only the main thread gets signals
            if orders is None:
                loop.add_signal_handler(number, stop, number.name)
            elif number == signal.SIGTERM:
                loop.add_signal_handler(number, _drain, server)
            else:  # a Ctrl-C in a terminal reaches the whole group; what it means comes as an order
                signal.signal(number, signal.SIG_IGN)

    def give_up(_: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop)

    follower.fatal.add_done_callback(give_up)
    if orders is not None:
        # Until a worker knows what it serves the others answer; what falls to its socket waits there.
        await _looked(follower)
    serving = asyncio.ensure_future(server.serve(sockets=[bound]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    said = asyncio.ensure_future(_announce(follower, ready))
    warm = asyncio.ensure_future(_warm(app, follower))
    await serving
    said.cancel()
    if not follower.looked.is_set():
        warm.cancel()  # it waits for a first look that does not come
    with contextlib.suppress(asyncio.CancelledError):
        await warm
    if follower.fatal.done():
        follower.fatal.result()


def _drain(server: Any) -> None:
    """A worker that is told twice does not hurry: the first time may have come with the order."""
    server.should_exit = True


async def _announce(follower: Follower | Fixed, ready: Callable[[], None]) -> None:
    """Say what serves once that is known; a store that is away does not keep the start silent."""
    await _looked(follower)
    ready()


async def _warm(app: InferenceApp, follower: Follower | Fixed) -> None:
    """Build what is behind feedback and page when the model answers: its imports would hold up the model's start.

    What a server has then stays. The garbage collector, which the start does without (`cli.app`), need not walk through
    it again: that takes some hundredths of a second, in which nobody is answered.
    """
    await _looked(follower)
    # From now on other threads (log, follower, large bodies, the page's imports) may keep the event loop from answering
    # for so long; before, each change from one thread to another only delays the start.
    sys.setswitchinterval(SWITCH_SECONDS)
    _keep_memory()
    try:
        await app.warm_site()
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()


def _keep_memory() -> None:
    """Keep the memory of bodies that are answered for the next ones, where the C library lets us say so.

    By default glibc gives blocks of 128 kB and more back at once, and the kernel clears each of their pages anew: for
    1,000 rows of 64 numbers a tenth of the time to the answer.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2 * BULK_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


async def _looked(follower: Follower | Fixed) -> None:
    """Wait for the first look at the ledger, but not for long."""
    deadline = time.monotonic() + START_SECONDS
    while not follower.looked.is_set() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop

"""The server's sibling process: finished spool segments become Parquet files in the store.

Started as `python -m trimtab.serving.shipper <config JSON>` by `supervisor.Shipper`. It reads nothing from its
standard input but its end: when that comes, the server is gone or done, and it ships what is left and ends. On
standard output it reports, one JSON line at a time, what reached the store. Folders of servers that died (on this
machine, with the same spool) are taken over. Shipping a segment twice writes the same keys, so a kill at any moment
loses nothing and doubles nothing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import mmap
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trimtab.core.errors import StoreError, TrimtabError
from trimtab.serving import frames, tally
from trimtab.serving.spool import finished, held, read_lines

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.core.store import Store

logger = logging.getLogger("trimtab.serving.shipper")

BACKOFF_SECONDS = 5.0
# How long a killed server may take to be gone.
END_SECONDS = 5.0
# What the system may lack for a while: file descriptors, memory.
SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@dataclass
class Shipped:
    """What one round did: rows and labels that reached the store, and what had to be left out."""

    written: int = 0
    labels: int = 0
    dropped: int = 0
    labels_dropped: int = 0
    store_errors: list[str] = field(default_factory=list)


def ship_all(home: Path, own: str, model: str, store: Store, shipped: Shipped, *, last: bool = False) -> None:
    """Ship what is finished in our own folder and in those of servers that died.

    Args:
        home: the model's spool.
        own: the living server's name, with which its workers' names begin; with `last` it writes no more.
        model: the model's name.
        store: where it goes.
        shipped: counts, added to as they happen.
        last: the server is done, its open segments are whole.

    Raises:
        StoreError: the store is away; what was not shipped stays.
    """
    folders = sorted(path for path in home.iterdir() if (path / "owner.lock").exists())
    for folder in folders:
        count_lost(folder)  # first, and of all: it needs the segments, and waits for no store
    for folder in folders:
        with held(folder / "ship.lock") as mine:
            if not mine:
                continue
            with held(folder / "owner.lock") as dead:
                if dead:
                    tally.leave(folder)  # it may have died since they were counted
                if dead or folder.name.startswith(own):
                    whole = dead or (last and folder.name == own)
                    ship_folder(folder, model, store, shipped, abandoned=whole)
                if dead:
                    _remove(folder)


def count_lost(folder: Path) -> None:
    """Leave the count of what a dead server had in memory; a living one's folder is left alone."""
    with held(folder / "ship.lock") as mine, held(folder / "owner.lock") as dead:
        if mine and dead:
            tally.leave(folder)


def ship_folder(folder: Path, model: str, store: Store, shipped: Shipped, *, abandoned: bool) -> None:
    """Ship one server's segments, oldest first."""
    for path in finished(folder / "log", abandoned=abandoned):
        shipped.written += _ship_log(path, model, folder, store, shipped)
        path.unlink(missing_ok=True)
    for path in finished(folder / "labels", abandoned=abandoned):
        lines, _ = read_lines(path)  # a torn label line was never acknowledged
        shipped.labels += _ship_labels(path, lines, model, folder, store, shipped)
        path.unlink(missing_ok=True)


def _ship_log(path: Path, model: str, folder: Path, store: Store, shipped: Shipped) -> int:
    from trimtab.core import predictions
    from trimtab.serving.tables import log_table

    found = 0
    try:
        by_version: dict[str, list[frames.Frame]] = {}
        for frame, _ in frames.decode(_mapped(path)):
            found += frame.rows
            by_version.setdefault(frame.head["v"], []).append(frame)
        files: list[tuple[str, bytes]] = []
        for version, part in by_version.items():
            schema = _schema((folder / "schemas" / f"{version}.json").read_bytes())
            tables = predictions.split_hours(log_table(part, schema))
            files += [predictions.log_file(model, version, folder.name, int(path.stem), table) for table in tables]
    except Exception as error:  # damaged bytes can mean anything, and must not hold up the others
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in SHORT_OF:
            raise  # the process lacks something, not the segment: it is tried again
        shipped.dropped += max(1, found)
        _set_aside(path, folder, error)
        return 0
    for key, body in files:
        store.create(key, body)
    return found


@functools.lru_cache(maxsize=8)
def _schema(written: bytes) -> Schema:
    """A version's schema; that of the last segment is nearly always the next one's."""
    from trimtab.core.schema import Schema

    return Schema.from_json(written)


def _mapped(path: Path) -> bytes | mmap.mmap:
    """A finished segment's bytes, not read into memory of our own."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _ship_labels(path: Path, lines: list[bytes], model: str, folder: Path, store: Store, shipped: Shipped) -> int:
    from trimtab.core import labels, predictions
    from trimtab.serving.tables import label_table

    if not lines:
        return 0
    try:
        tables = list(predictions.split_hours(label_table(lines), "arrived_at"))
    except (ValueError, KeyError, TypeError) as error:
        shipped.labels_dropped += len(lines)
        _set_aside(path, folder, error)
        return 0
    for table in tables:
        labels.write_labels(store, model, folder.name, int(path.stem), table)
    return len(lines)


def _set_aside(path: Path, folder: Path, error: Exception) -> None:
    """Keep a segment that cannot be converted for a person to look at; it must not hold up the others."""
    bad = folder.parent / "bad"
    bad.mkdir(exist_ok=True)
    target = bad / f"{folder.name}-{path.parent.name}-{path.name}"
    path.replace(target)
    logger.error("a spool segment cannot be converted, kept as %s: %s: %s", target, type(error).__name__, error)


def _remove(folder: Path) -> None:
    """Remove a dead server's folder once nothing is left in it."""
    import shutil

    if not finished(folder / "log", abandoned=True) and not finished(folder / "labels", abandoned=True):
        shutil.rmtree(folder, ignore_errors=True)


def _report(shipped: Shipped) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(1, orjson.dumps(shipped) + b"\n")


def run(config: dict[str, Any]) -> None:
    """Ship until standard input ends, then once more for `drain` seconds at most."""
    from trimtab.core.store import open_store

    home, own, model = Path(config["home"]), str(config["name"]), str(config["model"])
    errors: list[str] = []
    store = open_store(config["store"], on_error=errors.append)
    delay = interval = float(config["poll"])
    down = False
    deadline: float | None = None
    while True:
        last = deadline is not None
        shipped = Shipped()
        failed = False
        try:
            ship_all(home, own, model, store, shipped, last=last)
            if down:
                logger.info("the store is back")
            down, delay = False, interval
        except StoreError as error:
            failed = True
            if not errors:  # refused before a request was made
                errors.append("create")
            if not down:
                logger.warning("the store is away, rows stay in the spool: %s", error)
            down, delay = True, min(BACKOFF_SECONDS, max(delay * 2, interval))
        except OSError as error:
            failed = True
            logger.error("the spool cannot be read: %s", error)
        shipped.store_errors = errors[:]
        errors.clear()
        if shipped != Shipped():
            _report(shipped)
        if deadline is not None and (not failed or time.monotonic() >= deadline):
            return
        if deadline is None:
            readable, _, _ = select.select([0], [], [], delay)
            if readable and not os.read(0, 4096):
                _await_end(home / own)
                deadline = time.monotonic() + float(config["drain"])
        else:
            time.sleep(min(delay, 0.5))


def _await_end(folder: Path) -> None:
    """Wait until our server is gone for good, or has written all: a killed one closes its files one by one."""
    for _ in range(int(END_SECONDS / 0.02)):
        with held(folder / "owner.lock") as dead:
            if dead or tally.closed(folder):
                return
        time.sleep(0.02)


class _WithoutPandas(MetaPathFinder):
    """Where pandas is installed, the first `pa.array` imports it: 100 MB and 0.35 s for nothing."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuse pandas; leave everything else to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError("the shipper does without pandas", name="pandas")


def main() -> None:
    """Entry of the process."""
    sys.meta_path.insert(0, _WithoutPandas())
    # A Ctrl-C in a terminal reaches the whole group; what ends this process is the end of its standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from trimtab.core import logs

    with contextlib.suppress(OSError):
        os.nice(10)  # answers first
    config = orjson.loads(sys.argv[1])
    logs.setup(config.get("log_level", "INFO"), process="shipper", model=config["model"])
    try:
        run(config)
    except TrimtabError as error:
        logger.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

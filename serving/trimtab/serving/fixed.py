"""Serves one version and no other: what a pod on a cluster is told with `serve --bundle`.

The bundle is a folder, as KServe's storage-initializer leaves it under `/mnt/models`, or a version's place in the
store. It is verified and warmed like any other, once; the ledger is never read. A version that fails a check is
refused in writing and ends the process, so that the pod's state says so too and a repaired trust is seen at the next
start.
"""

from __future__ import annotations

import logging
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trimtab.core import bundle, rollouts, signing
from trimtab.core.envelope import MANIFEST, open_envelope
from trimtab.core.errors import NotFound, ProjectError, SignatureError, StoreError, StoreUnfit, TrimtabError
from trimtab.core.store import open_store, probe
from trimtab.serving.model import LoadedModel, load_model
from trimtab.serving.traffic import Traffic

if TYPE_CHECKING:
    from trimtab.core.envelope import Manifest
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.log import PredictionLog
    from trimtab.serving.metrics import Metrics

logger = logging.getLogger(__name__)


class Where(NamedTuple):
    """Where a bundle lies: in a folder, or as a version of a store.

    Attributes:
        model, version: as its place says, for a store; as its manifest says, unverified, for a folder.
        store: URL of the store; empty for a folder.
        folder: the folder; None for a store.
    """

    model: str
    version: str
    store: str = ""
    folder: Path | None = None


def locate(text: str) -> Where:
    """Read what `--bundle` was given.

    Raises:
        ProjectError: it is neither a folder with a bundle nor `s3://…/models/<model>/versions/<version>`.

    >>> locate("s3://bucket/team/models/digits/versions/v1-0a1b2c3d")
    Where(model='digits', version='v1-0a1b2c3d', store='s3://bucket/team', folder=None)
    """
    if "://" in text:
        base, _, rest = text.rstrip("/").rpartition("/models/")
        parts = rest.split("/")
        if not base.startswith(("s3://", "file://")) or len(parts) != 3 or parts[1] != "versions":
            raise ProjectError(
                "this is no place of a bundle",
                object="--bundle",
                expected="a folder, or s3://bucket/prefix/models/<model>/versions/<version>",
                got=text[:200],
            )
        return Where(parts[0], bundle.check_version(parts[2]), base)
    folder = Path(text)
    path = folder / MANIFEST
    if not path.is_file():
        raise ProjectError(
            f"the folder holds no bundle: there is no {MANIFEST} in it",
            object=text[:200],
            expected="a published version's files",
            hint="on a cluster: does storageUri end in models/<model>/versions/<version>?",
        )
    manifest = open_envelope(path.read_bytes(), None, str(path))
    return Where(manifest.model, manifest.version, folder=folder)


class Fixed:
    """Loads one bundle; stands where a `Follower` does.

    Args:
        config: the server's settings; `bundle` says which.
        settings: how to reach the store that holds it.
        store: where a refusal is written, and the log goes.
        log: told of the version before it answers.
        publish: takes the traffic, an atomic assignment; called from this one's thread.

    Attributes:
        looked: set once the bundle was loaded, or could not be.
        fatal: fails with the version's refusal, or with a store that cannot keep the contract.
    """

    def __init__(
        self,
        config: ServerConfig,
        settings: Settings,
        store: Store,
        log: PredictionLog,
        metrics: Metrics,
        publish: Callable[[Traffic], None],
    ) -> None:
        self._config, self._settings, self._store = config, settings, store
        self._log, self._metrics, self._publish = log, metrics, publish
        self.fatal: Future[None] = Future()
        self.looked = threading.Event()
        self._stopping = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._work, name="bundle", daemon=True)

    def start(self) -> None:
        """Load in a thread, at once; a store that is away is tried again every `poll_seconds`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what serves goes on serving."""
        self._stopping.set()
        self._thread.join(2)

    def _work(self) -> None:
        loaded = probed = False
        while not self._stopping.is_set():
            try:
                if not loaded:
                    self._serve(self._load())
                    loaded = True
                if not probed:  # behind the model, whose start should not wait for it
                    probe(self._store, f"server-{self._config.name}")
                    probed = True
            except StoreUnfit as error:
                self._end(error)
            except StoreError as error:  # the store's trouble, not the version's; a folder's model serves without it
                self._wait_for(error, loaded)
            except TrimtabError as error:
                self._refuse(error)
                self._end(error)
            except Exception as error:  # whatever it is, no other try of the same files heals it
                logger.exception("the bundle cannot be loaded")
                self._end(TrimtabError(f"the bundle cannot be loaded: {error}", object=self._config.bundle))
            self.looked.set()
            if (loaded and probed) or self.fatal.done() or self._stopping.wait(self._config.poll_seconds):
                return

    def _load(self) -> LoadedModel:
        config, where = self._config, locate(self._config.bundle)
        trusted = signing.trusted_keys(config.trusted)
        if where.folder is not None:
            manifest = bundle.verify_bundle(where.folder, trusted)
            return load_model(where.folder, self._expected(manifest), config.threads)
        folder = config.home / config.name / "bundles" / where.version
        shutil.rmtree(folder, ignore_errors=True)
        try:
            source = open_store(where.store, self._settings, on_error=self._metrics.store_error)
            manifest = bundle.fetch_bundle(source, where.model, where.version, folder, trusted)
            return load_model(folder, self._expected(manifest), config.threads)
        except NotFound as error:
            raise SignatureError(f"there is no such version: {error.sentence()}", object=config.bundle) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _expected(self, manifest: Manifest) -> Manifest:
        if manifest.model != self._config.model:
            raise SignatureError(
                "the bundle is of another model",
                object=self._config.bundle,
                expected=self._config.model,
                got=manifest.model,
            )
        return manifest

    def _serve(self, model: LoadedModel) -> None:
        self._log.add_version(model.version, model.schema)
        self._publish(Traffic(model))
        self._metrics.keep([model.version])
        logger.info("serves %s and no other version (%.3f ms a row)", model.version, model.row_seconds * 1000)

    def _refuse(self, error: TrimtabError) -> None:
        """Say in the store why this version does not serve; a container that starts again says it once."""
        logger.error("refused: %s", error)
        try:
            version = locate(self._config.bundle).version
            rollouts.refuse(self._store, self._config.model, version, f"pod-{socket.gethostname()}", error.sentence())
        except (TrimtabError, OSError) as other:
            logger.warning("the refusal cannot be written: %s", other)

    def _wait_for(self, error: StoreError, loaded: bool) -> None:
        if str(error) != self._said:
            self._said = str(error)
            logger.warning("the store does not answer; it is tried again: %s", error)
        if not loaded:
            self._publish(Traffic(why=f"the store cannot be read: {error}"))

    def _end(self, error: TrimtabError) -> None:
        self._publish(Traffic(why=error.sentence()))
        self.fatal.set_exception(error)

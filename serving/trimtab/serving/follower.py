"""Follows the ledger: what it says serves, once it is fetched, verified and warmed, all beside the request path."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from trimtab.core import bundle, ledger, rollouts, signing
from trimtab.core.errors import NotFound, StoreError, StoreUnfit, TrimtabError
from trimtab.core.store import probe
from trimtab.serving.model import LoadedModel, load_model
from trimtab.serving.traffic import Traffic

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.log import PredictionLog
    from trimtab.serving.metrics import Metrics

logger = logging.getLogger(__name__)


class Follower:
    """Polls the ledger and swaps the traffic; a version that fails any check never serves and is refused in writing.

    Args:
        config: the server's settings.
        store: where ledger and bundles are.
        log: told of each version before it answers.
        metrics: forgets versions that left.
        publish: takes the new traffic, an atomic assignment; called from the follower's thread.

    Attributes:
        looked: set once the ledger was followed for the first time, or could not be.
        fatal: fails with what no waiting heals: a store that cannot keep the contract.
    """

    def __init__(
        self,
        config: ServerConfig,
        store: Store,
        log: PredictionLog,
        metrics: Metrics,
        publish: Callable[[Traffic], None],
    ) -> None:
        self._config, self._store, self._log, self._metrics, self._publish = config, store, log, metrics, publish
        self._state: ledger.State | None = None
        self._loaded: dict[str, LoadedModel] = {}
        self._refused: dict[str, tuple[int, str]] = {}
        self._traffic = Traffic()
        self._said = ""
        self._probed = False
        self._absent = ""
        self.fatal: Future[None] = Future()
        self.looked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)

    def start(self) -> None:
        """Start following, at once and then every `poll_seconds`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what serves goes on serving."""
        self._stopping.set()
        self._thread.join(2)  # a daemon: it may be waiting for a store that is away

    def _work(self) -> None:
        while True:
            try:
                self.step()
                self._said = ""
            except StoreUnfit as error:
                self.fatal.set_exception(error)
                return
            except (TrimtabError, OSError) as error:
                self._say(error)
            except Exception:  # one odd record or bundle must not end the following
                logger.exception("following the ledger failed; it is tried again")
            self.looked.set()
            if self._stopping.wait(self._config.poll_seconds):
                return

    def step(self) -> None:
        """Read the ledger, load what is missing, swap, forget what left.

        Raises:
            StoreUnfit: the store has no conditional create.
            TrimtabError: ledger or store cannot be read; what serves goes on serving.
        """
        state = self._state = ledger.refresh(self._store, self._config.model, self._state or ledger.State())
        problem: TrimtabError | None = None
        for version in (state.champion, state.canary, state.shadow):
            if version is not None and version not in self._loaded and not self._is_refused(version, state.seq):
                try:
                    self._load(version, state.seq)
                except (StoreError, OSError) as error:  # the store's trouble, not the version's: tried again
                    problem = error if isinstance(error, TrimtabError) else StoreError(str(error), object=version)
        self._swap(state, problem)
        if not self._probed:  # after the first version, whose start should not wait for it
            probe(self._store, f"server-{self._config.name}")
            self._probed = True
        if problem is not None:
            raise problem

    def _swap(self, state: ledger.State, problem: TrimtabError | None) -> None:
        champion = self._loaded.get(state.champion or "")
        if champion is None and state.champion is not None:
            champion = self._traffic.champion  # the old one answers until the new one can
        canary = self._loaded.get(state.canary or "")
        why = "" if champion is not None else self._why(state, problem)
        percent = state.canary_percent if canary is not None else 0
        shadow = self._loaded.get(state.shadow or "")
        fresh = Traffic(champion, canary, percent, why, shadow)
        if fresh != self._traffic:
            self._traffic = fresh
            self._publish(fresh)
            logger.info(
                "traffic: champion %s, canary %s at %d %%, shadow %s",
                champion.version if champion else "none",
                canary.version if canary else "none",
                percent,
                shadow.version if shadow else "none",
            )
        for version in set(self._loaded) - set(fresh.versions) - {state.champion, state.canary, state.shadow}:
            del self._loaded[version]
        self._metrics.keep([*fresh.versions, *([shadow.version] if shadow else [])])

    def _why(self, state: ledger.State, problem: TrimtabError | None) -> str:
        if state.champion is None:
            return self._none_yet(state)
        if self._is_refused(state.champion, state.seq):
            return f"{state.champion} was refused: {self._refused[state.champion][1]}"
        return f"{state.champion} cannot be loaded: {problem}" if problem else f"{state.champion} is being loaded"

    def _none_yet(self, state: ledger.State) -> str:
        """Why there is no champion: nothing promoted, or no such model at all, which may be a typing mistake."""
        model = self._config.model
        if state.seq > 0:
            return f"no version of {model} has been promoted yet"
        if not self._absent:
            known = bundle.list_models(self._store)
            others = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            self._absent = (
                f"no version of {model} has been promoted yet"
                if model in known
                else f"no version of {model} yet: waiting for its first (the store has: {others or 'no models'})"
            )
        return self._absent

    def _is_refused(self, version: str, seq: int) -> bool:
        # A later entry of the ledger (a promotion by hand, say) gives the version another chance.
        return version in self._refused and self._refused[version][0] >= seq

    def _load(self, version: str, seq: int) -> None:
        config = self._config
        folder = config.home / config.name / "bundles" / version
        shutil.rmtree(folder, ignore_errors=True)
        try:
            trusted = signing.trusted_keys(config.trusted)
            manifest = bundle.fetch_bundle(self._store, config.model, version, folder, trusted)
            model = load_model(folder, manifest, config.threads)
        except StoreError as error:
            if not isinstance(error, NotFound):
                raise
            self._refuse(version, seq, error)
        except TrimtabError as error:
            self._refuse(version, seq, error)
        else:
            self._log.add_version(version, model.schema)
            self._loaded[version] = model
            logger.info("loaded and warmed %s (%.3f ms a row)", version, model.row_seconds * 1000)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # the session holds the graph; nothing reads the files again

    def _refuse(self, version: str, seq: int, error: TrimtabError) -> None:
        logger.error("refused %s: %s", version, error)
        # Named by start and ledger entry: refusing it again after another promotion is another refusal.
        server = f"{self._config.name}-{seq}"
        rollouts.refuse(self._store, self._config.model, version, server, error.sentence())
        self._refused[version] = (seq, error.sentence())

    def _say(self, error: Exception) -> None:
        """Log a lasting problem once."""
        if str(error) != self._said:
            self._said = str(error)
            logger.warning("the ledger cannot be followed, what serves goes on: %s", error)
        if self._traffic.champion is None and self._state is None:
            self._traffic = Traffic(why=f"the store cannot be read: {error}")
            self._publish(self._traffic)

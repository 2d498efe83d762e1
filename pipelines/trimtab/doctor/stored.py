"""The store: can it keep the contract, and does what it holds hold?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.doctor.checks import Finding

if TYPE_CHECKING:
    from trimtab.doctor.checks import Where

# A trial of conditional create that takes longer makes releases and campaigns slow.
SLOW_SECONDS = 2.0


def check_store(where: Where) -> Iterator[Finding]:
    """Reachable, allowed, and conditional create is real."""
    from trimtab.core.store import open_store, probe

    store = open_store(where.settings.store, where.settings)
    began = time.perf_counter()
    probe(store, "doctor")
    took = time.perf_counter() - began
    says = f"{store.url} keeps the contract (conditional create; tried in {1000 * took:.0f} ms)"
    if took > SLOW_SECONDS:
        yield Finding("store", "warning", says, "that is slow: is the store far away, or its disk busy?")
    else:
        yield Finding("store", "ok", says)


def check_models(where: Where) -> Iterator[Finding]:
    """Each model's ledger is whole, and what it says serves is there, whole and signed by a key trusted here."""
    from trimtab.core import bundle, ledger, signing
    from trimtab.core.errors import TrimtabError
    from trimtab.core.store import open_store

    store = open_store(where.settings.store, where.settings)
    trusted = signing.trusted_keys(where.settings.trusted_keys)
    models = bundle.list_models(store)
    if not models:
        yield Finding("models", "ok", "none yet: `trimtab run FILE` makes the first")
    for model in models:
        try:
            state = ledger.state(store, model)
            serving = [version for version in (state.champion, state.canary, state.shadow) if version]
            for version in serving:
                with tempfile.TemporaryDirectory(prefix="trimtab-doctor-") as folder:
                    bundle.fetch_bundle(store, model, version, Path(folder) / "bundle", trusted)
        except TrimtabError as error:
            yield Finding(f"model {model}", "failed", error.sentence())
            continue
        said = f"{', '.join(serving)}: whole, signed by a trusted key" if serving else "nothing is promoted yet"
        yield Finding(f"model {model}", "ok", f"{state.seq} entries in its ledger; {said}")

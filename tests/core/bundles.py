"""Small bundles for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.core import bundle
from trimtab.core.store import Store

FACTS: dict[str, Any] = {
    "metrics": {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.94}},
    "threshold": None,
    "lineage": {"run_key": "0123456789abcdef"},
    "project": {"name": "digits"},
}


def write(folder: Path, seed: int = 0, size: int = 40) -> Path:
    """A folder of a few small files; another seed, other bytes."""
    (folder / "exports").mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(["model.onnx", "schema.json", "expected.json", "report.html", "exports/int8.onnx"]):
        pattern = bytes((seed + n + i) % 256 for i in range(256))
        (folder / name).write_bytes((pattern * (size // 256 + 1))[: size + n] + str(seed).encode())
    return folder


def publish(store: Store, folder: Path, key: Ed25519PrivateKey) -> str:
    """Publish it as `digits`."""
    return bundle.publish_bundle(store, "digits", folder, key, **FACTS)

"""A virtual environment of its own for each peer, made by pip under `.bench/` (git-ignored); instant when there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".bench"
RUNTIME = "onnxruntime==1.31.1"
REQUIREMENTS = {
    "kserve": ["kserve==0.21.0", RUNTIME],
    "mlserver": ["mlserver==1.7.1", RUNTIME],
    "bentoml": ["bentoml>=1.4.39,<1.5", RUNTIME],
    "litserve": ["litserve==0.2.19", RUNTIME],
}


class NotInstalled(Exception):
    """A peer that pip could not install here; its message is the reason."""


def python_of(peer: str) -> Path:
    """The Python of a peer's environment, made on first use.

    Raises:
        NotInstalled: pip says why.
    """
    folder, wanted = HOME / peer, REQUIREMENTS[peer]
    python, stamp = folder / "bin" / "python", folder / ".installed"
    digest = hashlib.sha256(repr((sys.version, wanted)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"== {peer}: a virtual environment in {folder.relative_to(ROOT)} ({' '.join(wanted)})", flush=True)
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary", *wanted],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise NotInstalled(said[-1].strip() if said else f"{step[2]} ended with {done.returncode}")
    stamp.write_text(digest)
    return python


def version_of(peer: str) -> str:
    """The version that is installed, or empty."""
    found = sorted((HOME / peer).glob(f"lib/python*/site-packages/{peer}-*.dist-info"))
    return found[0].name.removeprefix(f"{peer}-").removesuffix(".dist-info") if found else ""

"""This machine: Python and packages, keys, tokens, the spool's disk."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.doctor.checks import Finding

if TYPE_CHECKING:
    from trimtab.doctor.checks import Where

# Extra → a module that tells that it is there, and the commands that need it.
EXTRAS = {
    "serving": ("uvloop", "serve"),
    "monitoring": ("river", "watch, hook, simulate"),
    "pipelines": ("kfp", "run, compile, demo"),
    "train": ("torch", "run, demo"),
}
# Free disk below which a server may soon drop rows of its log, and below which it will.
LOW_BYTES, NO_BYTES = 2 << 30, 200 << 20
PRIVATE = 0o077


def check_python(_: Where) -> Iterator[Finding]:
    """The interpreter, and which commands can run."""
    found = f"trimtab {version('trimtab')} on Python {sys.version.split()[0]}"
    if sys.version_info[:2] != (3, 11):
        yield Finding("python", "warning", found, "3.11 is the one that is tested")
    else:
        yield Finding("python", "ok", found)
    lacking = {name: uses for name, (module, uses) in EXTRAS.items() if importlib.util.find_spec(module) is None}
    for name, uses in lacking.items():
        yield Finding("packages", "warning", f"without the extra `{name}`: no {uses}", f"pip install 'trimtab[{name}]'")
    if not lacking:
        yield Finding("packages", "ok", f"the extras {', '.join(EXTRAS)} are there")


def check_keys(where: Where) -> Iterator[Finding]:
    """The key that publish signs with, and whether servers here would accept it."""
    from trimtab.core import signing

    settings = where.settings
    path = settings.signing_key
    trusted = signing.trusted_keys(settings.trusted_keys)
    if not path.exists():
        if path == settings.home / "signing.pem":
            yield Finding("signing key", "ok", f"none yet; the first publish makes {path}")
        else:
            hint = "mount the key there, or unset TRIMTAB_SIGNING_KEY to have one made"
            yield Finding("signing key", "failed", f"there is no {path}", hint)
    else:
        name = signing.key_id(signing.load_key(path).public_key())
        if name in trusted:
            yield Finding("signing key", "ok", f"{path} ({name}), trusted here")
        else:
            hint = "put its public half there: openssl pkey -in KEY -pubout"
            yield Finding(
                "signing key", "failed", f"{name} is not among the trusted keys in {settings.trusted_keys}", hint
            )
    if not trusted and path.exists():
        yield Finding("trusted keys", "warning", f"{settings.trusted_keys} has none: a server here loads no version")


def check_tokens(where: Where) -> Iterator[Finding]:
    """One's own token, and whether a server here accepts it."""
    from trimtab.core.tokens import TokenFile

    settings = where.settings
    path = settings.token_file
    if not path.exists():
        yield Finding("token", "ok", f"none yet; the first server makes {path}")
        return
    mode = path.stat().st_mode & 0o777
    if mode & PRIVATE:
        yield Finding("token", "failed", f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
    elif not TokenFile(settings.tokens).accepts(path.read_text().strip()):
        said = f"the token in {path} is not among those in {settings.tokens}"
        yield Finding("token", "warning", said, "`trimtab serve` enters it there; a server elsewhere has its own")
    else:
        yield Finding("token", "ok", f"{path} is accepted here")


def check_spool(where: Where) -> Iterator[Finding]:
    """Where a server keeps what the store does not have yet."""
    path = where.settings.spool
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding("spool", "failed", f"{path} cannot be written", "name another folder with TRIMTAB_SPOOL")
        return
    free = shutil.disk_usage(there).free
    waiting = sum(file.stat().st_size for file in _files(path))
    says = f"{path}: {free / (1 << 30):.1f} GB free, {waiting / 1e6:.1f} MB wait for the store"
    if free < LOW_BYTES:
        hint = "free some disk, or name another with TRIMTAB_SPOOL"
        yield Finding("spool", "failed" if free < NO_BYTES else "warning", says, hint)
    else:
        yield Finding("spool", "ok", says)


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.rglob("*") if path.is_file())

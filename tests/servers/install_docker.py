"""dockerd for the tests of the images: Debian's package, and a base image where no registry can be reached.

Everything is kept in `.servers/docker/`. Needs root, since dockerd does; a daemon of the user's will do instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import packages
from tests.servers.docker import CLIENTS, ROOT, Docker

PACKAGES = ("docker.io", "debootstrap")
REGISTRY = "docker-registry"  # unpacked, not installed: its package would start a service
SUITE, INCLUDED = "bookworm", "ca-certificates,python3,python3-venv"
UNUSED = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"),
    *("var/lib/apt/lists", "var/cache/apt", "var/log"),
)
WAY_ROUND = (
    "  Tests of the images (mark `images`) need dockerd, Debian's package docker.io, run by root; or name a daemon:\n"
    "  TRIMTAB_TEST_DOCKER=unix:///var/run/docker.sock"
)


def install(folder: Path) -> int:
    """Install what is not there; 0 when the images' tests have a daemon and a base image.

    A machine that cannot run dockerd is told so and loses nothing else: those tests say why they do not run.
    """
    if os.environ.get("TRIMTAB_TEST_DOCKER"):
        return 0
    if os.geteuid() != 0:
        return _without("dockerd needs root")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if shutil.which("dockerd", path=path) is None or not any(map(shutil.which, CLIENTS)):
        said = packages.install(*PACKAGES)
        if said:
            return _without(f"no dockerd: {said}")
    return registry(folder) or base(folder)


def registry(folder: Path) -> int:
    """A registry to push to, from Debian's package, unpacked."""
    if (folder / REGISTRY).exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        said = packages.unpack(REGISTRY, Path(scratch))
        if said:
            return _without(f"no {REGISTRY} to push to: {said}")
        (Path(scratch) / "root" / "usr" / "bin" / REGISTRY).replace(folder / REGISTRY)
    return 0


def base(folder: Path) -> int:
    """Find the pinned base image in a registry, else make one by debootstrap."""
    if (folder / "base.ready").exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    pinned = re.findall(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(), re.M)[0]
    try:
        with Docker(folder) as docker:
            done = docker("pull", "--quiet", pinned, check=False, seconds=180)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return _without(str(error))
    if done.returncode != 0:
        lacks = shutil.which("debootstrap", path="/usr/sbin:/usr/bin") is None
        said = (lacks and packages.install("debootstrap")) or _make(folder)
        if said:
            return _without(said)
    (folder / "base.ready").write_text("base.tar\n" if done.returncode else f"{pinned}\n")
    print(f"== servers: {folder}: dockerd and a base image")
    return 0


def _make(folder: Path) -> str:
    """The base image as `base.tar`; what went wrong, empty when nothing did."""
    print(f"== servers: debootstrap {SUITE}, since no registry was reached (about a minute)", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch) / "root"
        said = packages.run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(root))
        if said:
            return said
        for unused in UNUSED:
            for path in (root / unused).glob("*"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        made = Path(scratch) / "base.tar"
        said = packages.run("tar", "-C", str(root), "-cf", str(made), ".")
        if not said:
            made.replace(folder / "base.tar")
    return said


def _without(why: str) -> int:
    """Say why there is no daemon; only where CI counts on it is that a failure."""
    print(f"make servers: {why}.\n{WAY_ROUND}", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0

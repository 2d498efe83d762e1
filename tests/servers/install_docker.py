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
    if (folder / "base.ready").exists() and (folder / REGISTRY).exists():
        return 0
    if os.geteuid() != 0:
        return _without("dockerd needs root")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if shutil.which("dockerd", path=path) is None or not any(map(shutil.which, CLIENTS)):
        if shutil.which("apt-get") is None:
            return _without("no dockerd, and no Debian packages here")
        said = _apt(*PACKAGES)
        if said:
            return _without(said)
    return registry(folder) or base(folder)


def registry(folder: Path) -> int:
    """A registry to push to, from Debian's package, unpacked."""
    if (folder / REGISTRY).exists():
        return 0
    if shutil.which("apt-get") is None:
        return _without(f"no {REGISTRY} to push to, and no Debian packages here")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        said = _run("apt-get", "-q", "download", REGISTRY, cwd=scratch)
        if said:
            _run("apt-get", "update", "-qq")
            said = _run("apt-get", "-q", "download", REGISTRY, cwd=scratch)
        packed = next(iter(Path(scratch).glob("*.deb")), Path(scratch))
        said = said or _run("dpkg", "-x", str(packed), f"{scratch}/root")
        if said:
            return _without(said)
        (Path(scratch) / "root" / "usr" / "bin" / REGISTRY).replace(folder / REGISTRY)
    return 0


def base(folder: Path, pinned: str = "") -> int:
    """Find the pinned base image in a registry, else make one by debootstrap."""
    if (folder / "base.ready").exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    pinned = pinned or re.findall(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(), re.M)[0]
    try:
        with Docker(folder) as docker:
            done = docker("pull", "--quiet", pinned, check=False, seconds=180)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return _without(str(error))
    if done.returncode != 0:
        said = (shutil.which("debootstrap", path="/usr/sbin:/usr/bin") is None and _apt("debootstrap")) or _make(folder)
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
        said = _run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(root))
        if said:
            return said
        for unused in UNUSED:
            for path in (root / unused).glob("*"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        made = Path(scratch) / "base.tar"
        said = _run("tar", "-C", str(root), "-cf", str(made), ".")
        if not said:
            made.replace(folder / "base.tar")
    return said


def _apt(*packages: str) -> str:
    """Install Debian's packages; what went wrong, empty when nothing did."""
    print(f"== servers: apt-get install {' '.join(packages)}", flush=True)
    # A package that starts its daemon at once would start one that nobody asked for.
    install = ("install", "-y", "-qq", "--no-install-recommends", *packages)
    said = _run("apt-get", *install, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    if said:
        _run("apt-get", "update", "-qq")
        said = _run("apt-get", *install, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    return said


def _run(*command: str, cwd: str | None = None, **environment: str) -> str:
    """A command's last words where it failed, else nothing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return ""
    words = (done.stderr or done.stdout).strip().splitlines()
    return f"`{' '.join(command[:4])}` failed: {words[-1] if words else f'exit {done.returncode}'}"


def _without(why: str) -> int:
    """Say why there is no daemon; only where CI counts on it is that a failure."""
    print(f"make servers: {why}.\n{WAY_ROUND}", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0

"""Commands that the installers run, and packages of Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(*command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command in a folder; its last words where it failed, else nothing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return ""
    words = (done.stderr or done.stdout).strip().splitlines()
    shown = " ".join([*command[:6], *(["…"] if len(command) > 6 else [])])
    return f"`{shown}` failed: {words[-1] if words else f'exit {done.returncode}'}"


def install(*packages: str) -> str:
    """Install packages, as root or by sudo; what went wrong, empty when nothing did."""
    rights = () if os.geteuid() == 0 else ("sudo", "-n")
    lacks = next((name for name in ("apt-get", *rights[:1]) if shutil.which(name) is None), "")
    if lacks:
        return f"no {lacks} here"
    print(f"== servers: apt-get install {' '.join(packages)}", flush=True)
    # RUNLEVEL: a package that starts its daemon at once would start one that nobody asked for.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = (*rights, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    if not run(*command, environment=quiet):
        return ""
    # An old list names what cannot be had any more. Without fresh ones it is tried all the same.
    run(*rights, "apt-get", "update", "-qq")
    return run(*command, environment=quiet)


def unpack(package: str, folder: Path) -> str:
    """A package's files in `folder/root`, with nothing installed; what went wrong, empty when nothing did."""
    if lacks := next((name for name in ("apt-get", "dpkg") if shutil.which(name) is None), ""):
        return f"no {lacks} here"
    said = run("apt-get", "-q", "download", package, folder=folder)
    if said:
        # No package lists on this machine, or stale ones: fresh ones of our own, since the system's are root's.
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        apt = ("apt-get", "-q", "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache")
        said = run(*apt, "update", folder=folder) or run(*apt, "download", package, folder=folder)
    packed = sorted(folder.glob(f"{package}_*.deb"))
    return said or run("dpkg", "-x", str(packed[-1]), str(folder / "root"))

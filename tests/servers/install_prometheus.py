"""Prometheus, Alertmanager and their tools in `.servers/prometheus/`, from Debian's packages and without root.

Elsewhere: install them as your system does (`brew install prometheus alertmanager`, or the archives of
prometheus.io/download); they are taken from PATH, or from the folder that TRIMTAB_PROMETHEUS_BIN names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("prometheus", "prometheus-alertmanager")
# What a program is called by its makers, and what else a distribution calls it.
PROGRAMS = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "amtool": ("amtool",),
}
WAY_ROUND = (
    "  Install Prometheus and Alertmanager with promtool and amtool as your system does\n"
    "  (brew install prometheus alertmanager; or prometheus.io/download) so that they are on PATH,\n"
    "  or name the folder that holds all four: TRIMTAB_PROMETHEUS_BIN=<folder>"
)


def find(folder: Path) -> dict[str, Path]:
    """The programs by their makers' names, as far as they are there: the named folder, ours, PATH."""
    given = os.environ.get("TRIMTAB_PROMETHEUS_BIN")
    places = [given] if given else [str(folder), os.environ.get("PATH", "")]
    found = {}
    for program, names in PROGRAMS.items():
        hits = (shutil.which(name, path=place) for place in places for name in names)
        if hit := next(filter(None, hits), None):
            found[program] = Path(hit)
    return found


def install(folder: Path) -> int:
    """Put the four programs into a folder where they are not found; 0 when tests have them."""
    missing = PROGRAMS.keys() - find(folder).keys()
    if not missing:
        return 0
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None or os.environ.get("TRIMTAB_PROMETHEUS_BIN"):
        print(f"make servers: not found: {', '.join(sorted(missing))}.\n{WAY_ROUND}", file=sys.stderr)
        return 2
    print(f"== servers: apt-get download {' '.join(PACKAGES)} (about 30 MB, nothing is installed)", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as build:
        if said := _download(Path(build)):
            print(f"make servers: apt-get download failed: {said}\n{WAY_ROUND}", file=sys.stderr)
            return 1
        for package in sorted(Path(build).glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), f"{build}/root"], check=True)
        for program, names in PROGRAMS.items():
            packed = next((p for n in names if (p := Path(build, "root/usr/bin", n)).exists()), None)
            if packed is None:
                print(f"make servers: Debian's packages hold no {program}.\n{WAY_ROUND}", file=sys.stderr)
                return 1
            packed.replace(folder / program)
    print(f"== servers: {folder}/{{{','.join(PROGRAMS)}}}")
    return 0


def _download(build: Path) -> str:
    """Fetch the packages into a folder; what went wrong, empty when nothing did."""
    said = _apt(build, "download", *PACKAGES)
    if said:
        # No package lists on this machine, or stale ones: fresh ones of our own, since the system's are root's.
        for part in ("lists/partial", "cache/archives/partial"):
            (build / part).mkdir(parents=True)
        own = ("-o", f"Dir::State::lists={build}/lists", "-o", f"Dir::Cache={build}/cache")
        said = _apt(build, *own, "update") or _apt(build, *own, "download", *PACKAGES)
    return said


def _apt(folder: Path, *arguments: str) -> str:
    """apt-get's last words where it failed, else nothing."""
    done = subprocess.run(
        ["apt-get", "-q", *arguments], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode == 0:
        return ""
    words = (done.stderr or done.stdout).strip().splitlines()
    return words[-1] if words else f"exit {done.returncode}"

"""Prometheus, Alertmanager and their tools in `.servers/prometheus/`, without root and installing nothing.

Prometheus and promtool come from Debian's package, unpacked: building Prometheus takes many minutes. Alertmanager and
amtool are built with Go: Debian's Alertmanager looks for a template under /usr, so it runs only where it is installed.

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

PACKAGE = "prometheus"
ALERTMANAGER = "github.com/prometheus/alertmanager/cmd/{}@v0.28.1"
PROGRAMS_OF_DEBIAN, PROGRAMS_OF_GO = frozenset({"prometheus", "promtool"}), frozenset({"alertmanager", "amtool"})
WAY_ROUND = (
    "  Install Prometheus and Alertmanager with promtool and amtool as your system does\n"
    "  (brew install prometheus alertmanager; or prometheus.io/download) so that they are on PATH,\n"
    "  or name the folder that holds all four: TRIMTAB_PROMETHEUS_BIN=<folder>"
)


def find(folder: Path) -> dict[str, Path]:
    """The programs, as far as they are there: in the named folder, or else in ours and on PATH."""
    given = os.environ.get("TRIMTAB_PROMETHEUS_BIN")
    places = [given] if given else [str(folder), os.environ.get("PATH", "")]
    hits = {
        program: [shutil.which(program, path=place) for place in places]
        for program in PROGRAMS_OF_DEBIAN | PROGRAMS_OF_GO
    }
    return {program: Path(next(filter(None, found))) for program, found in hits.items() if any(found)}


def install(folder: Path) -> int:
    """Put the programs into a folder where they are not found; 0 when tests have them."""
    missing = PROGRAMS_OF_DEBIAN - find(folder).keys(), PROGRAMS_OF_GO - find(folder).keys()
    if not any(missing):
        return 0
    if os.environ.get("TRIMTAB_PROMETHEUS_BIN"):
        return _cannot(f"TRIMTAB_PROMETHEUS_BIN holds no {', '.join(sorted(missing[0] | missing[1]))}", 2)
    if missing[0] and (shutil.which("apt-get") is None or shutil.which("dpkg") is None):
        return _cannot(f"no {' or '.join(sorted(missing[0]))}, and no Debian packages here", 2)
    if missing[1] and shutil.which("go") is None:
        return _cannot(f"no {' or '.join(sorted(missing[1]))}, and no Go toolchain to build them with", 2)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build:
        said = (missing[0] and _unpack(Path(build))) or (missing[1] and _build(Path(build)))
        if said:
            return _cannot(said, 1)
        for program in sorted(missing[0] | missing[1]):
            (Path(build) / program).replace(folder / program)
    print(f"== servers: {folder}: {', '.join(sorted(missing[0] | missing[1]))}")
    return 0


def _cannot(why: str, code: int) -> int:
    print(f"make servers: {why}.\n{WAY_ROUND}", file=sys.stderr)
    return code


def _unpack(build: Path) -> str:
    """Prometheus and promtool out of Debian's package; what went wrong, empty when nothing did."""
    print(f"== servers: apt-get download {PACKAGE} (19 MB, nothing is installed)", flush=True)
    said = _run(build, "apt-get", "-q", "download", PACKAGE)
    if said:
        # No package lists on this machine, or stale ones: fresh ones of our own, since the system's are root's.
        for part in ("lists/partial", "cache/archives/partial"):
            (build / part).mkdir(parents=True)
        apt = ("apt-get", "-q", "-o", f"Dir::State::lists={build}/lists", "-o", f"Dir::Cache={build}/cache")
        said = _run(build, *apt, "update") or _run(build, *apt, "download", PACKAGE)
    packed = sorted(build.glob(f"{PACKAGE}_*.deb"))
    said = said or _run(build, "dpkg", "-x", str(packed[-1]), str(build / "root"))
    for program in () if said else PROGRAMS_OF_DEBIAN:
        (build / "root/usr/bin" / program).replace(build / program)
    return said


def _build(build: Path) -> str:
    """Alertmanager and amtool by Go; what went wrong, empty when nothing did."""
    packages = [ALERTMANAGER.format(program) for program in sorted(PROGRAMS_OF_GO)]
    print(f"== servers: go install {' '.join(packages)} (about 90 seconds the first time)", flush=True)
    return _run(build, "go", "install", *packages, GOBIN=str(build), CGO_ENABLED="0")


def _run(folder: Path, *command: str, **environment: str) -> str:
    """A command's last words where it failed, else nothing."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return ""
    words = (done.stderr or done.stdout).strip().splitlines()
    return f"`{' '.join(command)}` failed: {words[-1] if words else f'exit {done.returncode}'}"

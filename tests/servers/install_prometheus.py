"""Prometheus, Alertmanager and their tools in `.servers/prometheus/`, without root and installing nothing.

Prometheus and promtool come from Debian's package, unpacked: building Prometheus takes many minutes. Alertmanager and
amtool are built with Go: Debian's Alertmanager looks for a template under /usr, so it runs only where it is installed.

Elsewhere: install them as your system does (`brew install prometheus alertmanager`, or the archives of
prometheus.io/download); they are taken from PATH, or from the folder that TRIMTAB_PROMETHEUS_BIN names.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.servers import packages

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
    said = packages.unpack(PACKAGE, build)
    for program in () if said else PROGRAMS_OF_DEBIAN:
        (build / "root/usr/bin" / program).replace(build / program)
    return said


def _build(build: Path) -> str:
    """Alertmanager and amtool by Go; what went wrong, empty when nothing did."""
    modules = [ALERTMANAGER.format(program) for program in sorted(PROGRAMS_OF_GO)]
    print(f"== servers: go install {' '.join(modules)} (about 90 seconds the first time)", flush=True)
    return packages.run("go", "install", *modules, folder=build, environment={"GOBIN": str(build), "CGO_ENABLED": "0"})

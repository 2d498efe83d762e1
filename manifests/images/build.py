"""Build Trimtab's images, and push them where a registry is named: what `make images` runs. Standard library alone.

Each image is tagged `trimtab-<image>:<version>-<12 hex of its id>`: the same content has the same tag, another content
another one, so Kubeflow's cache, which goes by the tag, cannot mix two of them up. Pushed images are printed by digest.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("server", "monitor", "stage")
INPUTS = (
    *("Dockerfile", ".dockerignore", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "manifests/images"),
    *("components", "pipelines", "serving", "monitoring", "examples/digits/project.yaml"),
)
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
LABEL = "org.opencontainers.image"
# A host with or without a port, then a path of lower-case words; on Docker Hub the path alone.
PLACE = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?")


class Refused(Exception):
    """What a user can put right."""


def main(arguments: list[str]) -> int:
    """Build, tag and push; prints `<image> <name>` for each, the stage image's name last."""
    parser = argparse.ArgumentParser(prog="make images", description=__doc__)
    parser.add_argument("images", nargs="*", help=f"which ones; by default {' '.join(IMAGES)}")
    parser.add_argument("--registry", default="", help="where to push to, for example registry.example.org/ml")
    parser.add_argument("--wheels", default="", help="folder of wheels for the stage image")
    parser.add_argument("--torch-index", default="", help="extra package index that has the torch build to take")
    parser.add_argument("--base", default="", help="base image; by default the one that the Dockerfile pins")
    parser.add_argument("--network", default="", help="network of the build, for example host")
    parser.add_argument("--root", type=Path, default=ROOT, help="the sources; by default these")
    chosen = parser.parse_args(arguments)
    try:
        _check(chosen)
        with _wheels(chosen.wheels, chosen.root), tempfile.TemporaryDirectory() as folder:
            for image in chosen.images or IMAGES:
                name = build(image, chosen, Path(folder))
                print(image, push(name, chosen.registry) if chosen.registry else name, flush=True)
    except Refused as refused:
        print(f"make images: {refused}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        print(f"make images: `{shlex.join(failed.cmd)}` failed (exit {failed.returncode})", file=sys.stderr)
        return 1
    return 0


def _check(chosen: argparse.Namespace) -> None:
    """Refuse now what would fail after minutes of building."""
    unknown = [image for image in chosen.images if image not in IMAGES]
    if unknown:
        raise Refused(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    if not (chosen.root / "Dockerfile").is_file():
        raise Refused(f"--root {chosen.root} holds no Dockerfile")
    if chosen.registry and not PLACE.fullmatch(chosen.registry):
        raise Refused(
            f"REGISTRY={chosen.registry} names no place for images: expected host/path in lower case, "
            "without https://, tag or digest, for example registry.example.org/ml"
        )
    ask = [_program(), "version"]
    try:
        asked = subprocess.run(ask, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise Refused(f"{ask[0]} cannot be run: {error.strerror}") from None
    if asked.returncode:
        said = next(iter(asked.stderr.splitlines()), f"exit {asked.returncode}")
        raise Refused(f"`{shlex.join(ask)}`: {said} Start Docker, or name a daemon: DOCKER_HOST=<address>")


def build(image: str, chosen: argparse.Namespace, scratch: Path) -> str:
    """Build one target; its name, tagged by what it holds."""
    version = tomllib.loads((chosen.root / "pyproject.toml").read_text())["project"]["version"]
    arguments = {"BASE": chosen.base, "TORCH_INDEX": chosen.torch_index}
    labels = {"version": version, "revision": _revision(chosen.root)}
    words = ["build", "--target", image, "--iidfile", str(scratch / image), *_secrets(scratch)]
    words += ["--network", chosen.network] if chosen.network else []
    words += [part for name, value in arguments.items() if value for part in ("--build-arg", f"{name}={value}")]
    words += [part for name, value in labels.items() for part in ("--label", f"{LABEL}.{name}={value}")]
    # Named without a value: docker takes it from its own environment, and keeps it out of image and cache key.
    for name in (*PROXIES, *(name.upper() for name in PROXIES)):
        words += ["--build-arg", name] if os.environ.get(name) else []
    docker(*words, str(chosen.root), to=sys.stderr, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    if not (scratch / image).is_file():
        raise Refused(f"{_program()} does not say what it built: a client with Docker's `build --iidfile` is needed")
    identity = (scratch / image).read_text().strip()
    name = f"trimtab-{image}:{version}-{identity.removeprefix('sha256:')[:12]}"
    docker("tag", identity, name)
    return name


def push(name: str, registry: str) -> str:
    """Push an image; its name by digest, `registry/trimtab-stage@sha256:…`."""
    there = f"{registry.rstrip('/')}/{name}"
    docker("tag", name, there)
    try:
        docker("push", "--quiet", there, to=sys.stderr)
    except subprocess.CalledProcessError:
        host = registry.partition("/")[0]
        raise Refused(
            f"{there} was not pushed, docker says above why: is {host} a registry that this machine reaches, "
            f"and are you logged in there (docker login {host})?"
        ) from None
    known = docker("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", there).split()
    digests = {name: digest for name, _, digest in (one.partition("@") for one in known)}
    repository = there.rpartition(":")[0]
    # Docker leaves out the name of its own hub.
    digest = digests.get(repository) or digests.get(repository.removeprefix("docker.io/"))
    if digest is None:
        raise Refused(f"{there} was pushed, and its digest is not known: docker lists {', '.join(known) or 'none'}")
    return f"{repository}@{digest}"


def docker(*words: str, to: IO[str] | None = None, env: dict[str, str] | None = None) -> str:
    """Run docker; what it says."""
    command = [_program(), *words]
    done = subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=to or subprocess.PIPE, env=env, text=True
    )
    return done.stdout or ""


def _program() -> str:
    """The client: docker, or the program that the variable DOCKER names."""
    program = os.environ.get("DOCKER") or "docker"
    if shutil.which(program) is None:
        raise Refused(f"no {program} on PATH: install Docker, or name a program that builds: DOCKER=<program>")
    return program


def _revision(root: Path) -> str:
    """The last commit that changed what goes into the images, so that other commits leave their ids alone."""
    git = ["git", "-C", str(root)]
    found = subprocess.run(
        [*git, "log", "-1", "--format=%H", "--", *INPUTS], capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", *INPUTS], capture_output=True, text=True, check=False
    )
    if found.returncode or changed.returncode or not found.stdout.strip():
        return "unknown"
    return found.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def _secrets(scratch: Path) -> list[str]:
    """The CA bundle and pip's configuration of this machine, as secrets of the build: no layer keeps them."""
    words = []
    ca = next(filter(None, map(os.environ.get, ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))), "")
    if ca and Path(ca).is_file():
        words += ["--secret", f"id=ca,src={ca}"]
    pip = configparser.RawConfigParser()
    named = os.environ.get("PIP_CONFIG_FILE")
    files = [named] if named else ["/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf"]
    try:
        pip.read(Path(file).expanduser() for file in files)
    except (configparser.Error, UnicodeDecodeError) as error:
        # The lines after the first quote the file, which may hold a password.
        said = str(error).splitlines()[0]
        raise Refused(f"pip's configuration ({', '.join(files)}) cannot be read: {said}") from None
    given = {name: os.environ.get(f"PIP_{name.upper().replace('-', '_')}") for name in ("index-url", "extra-index-url")}
    for name, value in given.items():
        if value:
            pip.read_dict({"global": {name: value}})
    if pip.sections():
        file = scratch / "pip.conf"
        file.touch(mode=0o600)
        with file.open("w") as out:
            pip.write(out)
        words += ["--secret", f"id=pip,src={file}"]
    return words


@contextlib.contextmanager
def _wheels(folder: str, root: Path) -> Iterator[None]:
    """A folder's wheels inside the build's context, while it builds."""
    source, place = Path(folder), root / "manifests" / "images" / "wheels"
    found = sorted(source.glob("*.whl")) if folder else []
    if folder and not found:
        raise Refused(f"WHEELS={folder} holds no *.whl")
    put = [place / wheel.name for wheel in found if source.resolve() != place.resolve()]
    if there := [wheel.name for wheel in put if wheel.exists()]:
        raise Refused(f"{place} has a {there[0]} of its own already: remove it, or leave it out of WHEELS={folder}")
    try:
        for wheel in put:
            shutil.copy(source / wheel.name, wheel)
        yield
    finally:
        for wheel in put:
            wheel.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

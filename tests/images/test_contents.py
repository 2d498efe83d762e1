"""What is in the images and what is not: size, user, tools, labels, bytecode, bill of materials."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from tests.images.conftest import IMAGES
from tests.servers.docker import ROOT, Docker

pytestmark = pytest.mark.images

# Megabytes unpacked, as docker counts its layers; the stage image may hold its torch build and this much more.
LIMITS = {"server": 560, "monitor": 1600}
STAGE_BESIDE_TORCH = 900
# torch, NVIDIA's wheels that it asks for, and triton.
TORCH = """
import sysconfig, pathlib
site = pathlib.Path(sysconfig.get_paths()["purelib"])
files = (f for part in ("torch", "nvidia", "cuda", "triton") for f in (site / part).rglob("*") if not f.is_dir())
print(sum(f.lstat().st_size for f in files))
"""
LOOK = r"""
id -u; id -g
command -v pip pip3 gcc g++ cc c++ clang make curl wget ssh git || echo no-tools
python3 -m pip --version >/dev/null 2>&1 && echo pip || echo no-pip
python3 -m ensurepip --version >/dev/null 2>&1 && echo ensurepip || echo no-ensurepip
find / -xdev -type f -perm /6000 2>/dev/null | wc -l
find / -xdev -type f -perm -0002 2>/dev/null | wc -l
find /root/.cache /tmp /opt/build /wheels /list /steps /more /run/secrets -type f 2>/dev/null | wc -l
"""
BARE = """
import pathlib, sysconfig
site = pathlib.Path(sysconfig.get_paths()["purelib"])
print(*sorted(str(p) for p in site.glob("trimtab/**/*.py") if not list((p.parent / "__pycache__").glob(p.stem + ".*"))))
"""


@pytest.mark.parametrize("image", sorted(LIMITS))
def test_the_small_ones_are_small(docker: Docker, image: str) -> None:
    size = docker.size(docker.build(image)) / 1e6
    print(f"{image}: {size:.0f} MB")
    assert size < LIMITS[image]


def test_the_stage_image_is_little_more_than_its_torch(docker: Docker) -> None:
    name = docker.build("stage")
    torch = int(docker.run(name, "python3", "-c", TORCH).stdout) / 1e6
    beside = docker.size(name) / 1e6 - torch
    print(f"stage: torch {torch:.0f} MB and {beside:.0f} MB")
    assert beside <= STAGE_BESIDE_TORCH


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_in_it_serves_an_intruder(docker: Docker, image: str) -> None:
    seen = docker.run(docker.build(image), "-c", LOOK, options=("--entrypoint=sh", "--read-only")).stdout.split()
    assert seen == ["10001", "10001", "no-tools", "no-pip", "no-ensurepip", "0", "0", "0"]


@pytest.mark.parametrize("image", IMAGES)
def test_its_settings_say_what_it_is(docker: Docker, image: str) -> None:
    name = docker.build(image)
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", name).stdout)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == f"trimtab-{image}"
    assert labels["version"] == version
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == ("NONE" if image == "stage" else "CMD")
    assert re.fullmatch(rf"trimtab-{image}:{re.escape(version)}-[0-9a-f]{{12}}", name)
    assert not any(re.search("SECRET|TOKEN|PASSWORD|CERT", variable) for variable in config["Env"])


@pytest.mark.parametrize("image", IMAGES)
def test_its_bytecode_is_there(docker: Docker, image: str) -> None:
    assert docker.run(docker.build(image), "-c", BARE, options=("--entrypoint=python3",)).stdout.split() == []


@pytest.mark.parametrize(("image", "holds"), [("server", "onnxruntime"), ("monitor", "kfp"), ("stage", "torch")])
def test_its_bill_of_materials_names_what_it_holds(docker: Docker, image: str, holds: str) -> None:
    options = ("--entrypoint=cat",)
    bill = json.loads(docker.run(docker.build(image), "/usr/share/trimtab/sbom.cdx.json", options=options).stdout)
    assert bill["bomFormat"] == "CycloneDX"
    parts = {part["purl"].partition("?")[0] for part in bill["components"] if "purl" in part}
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    python = {p.removeprefix("pkg:pypi/").partition("@") for p in parts if p.startswith("pkg:pypi/")}
    versions = {name: version.partition("%2B")[0].partition("+")[0] for name, _, version in python}
    assert versions[holds] == pinned[holds]
    same = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pinned.items()}
    assert {n: v for n, v in versions.items() if n in same and v != same[n]} == {}
    assert any(part.startswith("pkg:deb/debian/libc6@") for part in parts)
    listed = docker.run(
        docker.build(image),
        "-c",
        "import importlib.metadata as m; print(*sorted({d.name for d in m.distributions()}))",
        options=("--entrypoint=python3",),
    ).stdout.split()
    missing = {re.sub(r"[-_.]+", "-", name).lower() for name in listed} - versions.keys() - {"trimtab"}
    assert missing == set()

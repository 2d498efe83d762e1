"""The compiled pipelines are what was reviewed, KFP's own parser loses nothing, and a bad package is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.core.errors import ProjectError
from trimtab.core.project import parse_project
from trimtab.pipelines.compile import compile_project
from trimtab.pipelines.compile_check import check_arguments, check_package, read_package
from trimtab.pipelines.component_files import write_components

from . import golden

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:kfp")

Documents = list[dict[str, Any]]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    return {name: golden.compile_to(name, folder) for name in golden.PROJECTS}


@pytest.fixture(scope="module")
def plain(packages: dict[str, Path]) -> Documents:
    return load(packages["plain"])


def load(path: Path) -> Documents:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(path.read_text(), Loader=loader))


@pytest.mark.parametrize("name", sorted(golden.PROJECTS))
def test_what_a_cluster_heeds_is_what_was_reviewed(packages: dict[str, Path], name: str) -> None:
    found = golden.text(load(packages[name]))
    kept = (golden.FOLDER / f"{name}.yaml").read_text()
    assert found == kept, "read the difference; python -m tests.pipelines.golden writes the files anew"


@pytest.mark.parametrize("name", sorted(golden.PROJECTS))
def test_kfp_s_own_messages_keep_every_field(packages: dict[str, Path], name: str) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
    from kfp.pipeline_spec import pipeline_spec_pb2 as messages

    ir, platform = load(packages[name])
    assert json_format.MessageToDict(json_format.ParseDict(ir, messages.PipelineSpec())) == ir
    assert json_format.MessageToDict(json_format.ParseDict(platform, messages.PlatformSpec())) == platform
    for executor, settings in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
        again = json_format.MessageToDict(json_format.ParseDict(settings, kubernetes.KubernetesExecutorConfig()))
        assert again == settings, executor


@pytest.mark.parametrize("name", sorted(golden.PROJECTS))
def test_a_compiled_pipeline_passes_the_check(packages: dict[str, Path], name: str) -> None:
    package = check_package(packages[name])
    assert package.name == "quick"
    assert package.parameters == {"data": "", "key": "", "reason": "", "release": "ask"}
    assert set(package.images.values()) == {golden.IMAGE}
    account, seconds = {"plain": ("pipeline-runner", 86400), "gpu": ("trainer", 5400)}[name]
    assert (package.service_account, package.run_timeout) == (account, seconds)


def write(documents: Documents, path: Path) -> Path:
    path.write_text(yaml.safe_dump_all(documents, sort_keys=True))
    return path


def executors(documents: Documents, n: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = (documents[0] if n == 0 else documents[1]["platforms"]["kubernetes"])["deploymentSpec"]
    return dict(found)["executors"]  # type: ignore[no-any-return]


def _forget_executor(documents: Documents) -> None:
    del executors(documents)["exec-train"]
    del executors(documents, 1)["exec-train"]


def _long_parameter(documents: Documents) -> None:
    task = documents[0]["root"]["dag"]["tasks"]["train"]
    task["inputs"]["parameters"]["config"]["runtimeValue"]["constant"] = "ä" * 40_000


def _many_tasks(documents: Documents) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    tasks |= {f"train-{n}": tasks["train"] for n in range(70)}


BROKEN: dict[str, tuple[Callable[[Documents], Any], str]] = {
    "no executor": (_forget_executor, "comp-train has no executor"),
    "no component": (lambda d: d[0]["components"].pop("comp-train"), "task train has no component"),
    "unknown field of the IR": (lambda d: d[0]["root"].update(rooot=1), "rooot"),
    "unknown field for Kubernetes": (
        lambda d: executors(d, 1)["exec-train"].update(nodeSelektor={}),
        "exec-train.*nodeSelektor",
    ),
    "settings of no executor": (lambda d: executors(d, 1).update({"exec-nobody": {}}), "exec-nobody"),
    "no second document": (lambda d: d.pop(), "the second document is missing"),
    "a third document": (lambda d: d.append({"x": 1}), "more than the two"),
    "another second document": (lambda d: d[1].update(other=d[1].pop("platforms")), "no platform configuration"),
    "another platform": (lambda d: d[1]["platforms"].update(vertex={}), "vertex"),
    "no image": (
        lambda d: executors(d)["exec-train"]["container"].update(image="trimtab-stage-python:unset"),
        "exec-train has no image",
    ),
    "a moving image": (
        lambda d: executors(d)["exec-train"]["container"].update(image="stages:latest"),
        "stages:latest.*not pinned",
    ),
    "root without a scheme": (lambda d: d[0].update(defaultPipelineRoot="bucket/x"), "no scheme"),
    "root in a folder": (lambda d: d[0].update(defaultPipelineRoot="file:///mnt/root"), "no scheme that KFP knows"),
    "too large a parameter": (_long_parameter, "train: parameter config is too large.*got 80000"),
    "too many tasks": (_many_tasks, "too many tasks"),
    "no task": (lambda d: d[0]["root"]["dag"].update(tasks={}), "no task"),
    "no pipeline": (lambda d: d[0].pop("pipelineInfo"), "no compiled pipeline"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_a_cluster_would_take_and_not_run_is_refused(plain: Documents, name: str, tmp_path: Path) -> None:
    documents = copy.deepcopy(plain)
    change, words = BROKEN[name]
    change(documents)
    with pytest.raises(ProjectError, match=re.compile(words, re.DOTALL)):
        check_package(write(documents, tmp_path / "p.yaml"))


def test_a_file_that_is_no_yaml_is_refused_with_its_line(packages: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(packages["plain"].read_text() + "\n  x: [\n")
    with pytest.raises(ProjectError, match=r"line \d+ is no YAML"):
        check_package(path)
    path.write_text("pipelineInfo: {name: a}\nroot: {}\npipelineInfo: {name: b}\n")
    with pytest.raises(ProjectError, match="line 3: the key 'pipelineInfo' is given twice"):
        check_package(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProjectError):
        check_package(path)
    with pytest.raises(ProjectError, match="cannot be read"):
        check_package(tmp_path / "absent.yaml")


def test_arguments_are_looked_at(packages: dict[str, Path]) -> None:
    package = read_package(packages["plain"])
    check_arguments(package, {"key": "0123456789abcdef"})
    with pytest.raises(ProjectError, match="no parameter color"):
        check_arguments(package, {"color": "red"})
    with pytest.raises(ProjectError, match="parameter data is too large"):
        check_arguments(package, {"data": {"path": ["x" * 50] * 2000}})


def test_a_project_whose_settings_are_too_large_is_refused_when_compiled(tmp_path: Path) -> None:
    text = golden.PROJECTS["plain"].replace("target: species", f"target: species, statement: {'why ' * 17_000}")
    with pytest.raises(ProjectError, match="too large"):
        compile_project(parse_project(text, "p"), tmp_path / "p.yaml", image=golden.IMAGE, store=golden.STORE)


@pytest.mark.parametrize(
    "image",
    ["stages", "stages:latest", "stages:1.2", "stages@sha256:12", "", "stages:abcdef123456", "a b:x-0123456789ab"],
)
def test_an_image_that_can_move_is_refused(image: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not pinned"):
        write_components(tmp_path, image)


def pipeline_of(loaded: Any, name: str) -> Any:
    """A pipeline of one component; what it asks for in artifacts comes from importers."""
    from kfp import dsl

    def arguments() -> dict[str, Any]:
        given: dict[str, Any] = {}
        for one, spec in (loaded.component_spec.inputs or {}).items():
            if spec.optional:
                continue
            if spec.type.startswith("system."):
                kind = getattr(dsl, spec.type.removeprefix("system.").partition("@")[0])
                given[one] = dsl.importer(artifact_uri="s3://bucket/a", artifact_class=kind).output
            else:
                given[one] = True if spec.type.lower().startswith("bool") else "x"
        return given

    # A lambda: KFP reads annotations, and here they are text.
    return dsl.pipeline(name=name)(lambda: loaded(**arguments()) and None)


def test_every_stage_is_a_component_file_that_kfp_loads_into_a_pipeline(tmp_path: Path) -> None:
    from kfp import compiler, components

    image = "stages:dev-0123456789ab"
    files = write_components(tmp_path / "components", image)
    assert len(files) == 11
    for file in files:
        own = pipeline_of(components.load_component_from_file(str(file)), f"own-{file.stem}")
        out = tmp_path / f"own-{file.stem}.yaml"
        compiler.Compiler().compile(own, str(out))
        assert image in set(read_package(out).images.values()), file.stem

"""The compiled pipeline: both documents, pinned image, resources, parameters, nothing installed at run time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core.errors import ProjectError
from trimtab.core.project import Project, parse_project
from trimtab.pipelines.compile import compile_project
from trimtab.pipelines.configs import Configs
from trimtab.pipelines.training import build, chosen, component_steps

from .conftest import QUICK

IMAGE = "registry.example/trimtab/stage@sha256:" + "0" * 64
RESOURCES = """
resources:
  cpu: 0.5
  memory: 1Gi
  threads: 2
  stages:
    train: {cpu: 4, memory: 8Gi, accelerator: nvidia.com/gpu, accelerators: 1, minutes: 30}
"""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    text = QUICK.replace("  linear: {params: {epochs: 4}}", "  linear:\n  mlp: {params: {hidden: [8]}}") + RESOURCES
    out = tmp_path_factory.mktemp("compiled") / "quick.yaml"
    done = compile_project(parse_project(text, "quick.yaml"), out, image=IMAGE, store="s3://bucket/prefix")
    assert done.remarks == ()
    return list(yaml.safe_load_all(out.read_text()))


def containers(ir: dict[str, Any]) -> dict[str, Any]:
    return {n: e["container"] for n, e in ir["deploymentSpec"]["executors"].items()}


def test_there_are_two_documents(documents: list[dict[str, Any]]) -> None:
    ir, platform = documents
    assert ir["pipelineInfo"]["name"] == "quick"
    assert set(platform["platforms"]) == {"kubernetes"}


def test_every_task_runs_the_pinned_image_and_installs_nothing(documents: list[dict[str, Any]]) -> None:
    for name, container in containers(documents[0]).items():
        assert container["image"] == IMAGE, name
        assert "pip" not in json.dumps(container["command"][:3]), name


def test_the_parameters_all_have_defaults_and_none_is_null(documents: list[dict[str, Any]]) -> None:
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert {n: p["defaultValue"] for n, p in parameters.items()} == {
        "data": "", "key": "", "reason": "", "release": "ask",
    }  # fmt: skip


def test_only_define_knows_key_and_reason(documents: list[dict[str, Any]]) -> None:
    for name, task in documents[0]["root"]["dag"]["tasks"].items():
        taken = {
            p["componentInputParameter"]
            for p in task["inputs"].get("parameters", {}).values()
            if "componentInputParameter" in p
        }
        allowed = {"define": {"data", "key", "reason", "release"}, "deploy": {"release"}}.get(name, set())
        assert taken <= allowed, name


def test_what_changes_or_tells_the_store_is_never_cached(documents: list[dict[str, Any]]) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    uncached = {n for n, t in tasks.items() if not t.get("cachingOptions", {}).get("enableCache")}
    assert uncached == {"define", "publish", "deploy"}


def test_there_is_a_branch_for_each_candidate_and_one_select(documents: list[dict[str, Any]]) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert {"train", "train-2", "evaluate", "evaluate-2", "select"} <= set(tasks)
    given = tasks["select"]["inputs"]["artifacts"]
    assert {"model_1", "evaluation_1", "model_2", "evaluation_2"} <= set(given)
    assert "model_3" not in given


def test_resources_come_from_the_project_file(documents: list[dict[str, Any]]) -> None:
    found = containers(documents[0])
    assert found["exec-prepare"]["resources"]["resourceCpuLimit"] == "500m"
    assert found["exec-prepare"]["resources"]["resourceMemoryLimit"] == "1Gi"
    train = found["exec-train"]["resources"]
    assert (train["resourceCpuLimit"], train["resourceMemoryLimit"]) == ("4", "8Gi")
    assert train["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in found["exec-train"]["env"]


def test_a_stage_with_an_accelerator_is_told_to_use_it() -> None:
    with_gpu, without = (
        Configs(parse_project(QUICK + text, "quick.yaml"), code_version="1", image=IMAGE) for text in (RESOURCES, "")
    )
    candidate = next(iter(parse_project(QUICK, "quick.yaml").candidates.values()))
    assert json.loads(with_gpu.train(candidate))["accelerator"] == "gpu"
    assert json.loads(without.train(candidate))["accelerator"] == "cpu"


def test_a_task_learns_its_run_and_store_from_its_environment(documents: list[dict[str, Any]]) -> None:
    ir, platform = documents
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(containers(ir))
    for name, container in containers(ir).items():
        assert {"name": "TRIMTAB_STORE", "value": "s3://bucket/prefix"} in container["env"], name
        (field,) = executors[name]["fieldPathAsEnv"]
        assert field == {"name": "TRIMTAB_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}
    assert executors["exec-train"]["activeDeadlineSeconds"] == "1920"


def test_publish_alone_mounts_the_signing_key(documents: list[dict[str, Any]]) -> None:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert [n for n, e in executors.items() if "secretAsVolume" in e] == ["exec-publish"]


def test_a_ca_of_the_stores_own_reaches_every_task(quick: Project, tmp_path: Path) -> None:
    out = tmp_path / "quick.yaml"
    compile_project(quick, out, image=IMAGE, store="s3://bucket/prefix", s3_ca="trimtab-s3-ca")
    ir, platform = yaml.safe_load_all(out.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, container in containers(ir).items():
        (mounted,) = [v for v in executors[name]["configMapAsVolume"] if v["configMapName"] == "trimtab-s3-ca"]
        assert {"name": "AWS_CA_BUNDLE", "value": f"{mounted['mountPath']}/ca.crt"} in container["env"], name
    with pytest.raises(ProjectError, match=r"TRIMTAB_S3_CA_CONFIG_MAP: expected a ConfigMap's name.*'Not One'"):
        compile_project(quick, out, image=IMAGE, store="s3://bucket/prefix", s3_ca="Not One")


def test_an_image_that_is_not_pinned_is_refused(quick: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="pinned"):
        compile_project(quick, tmp_path / "p.yaml", image="trimtab:latest")


def test_a_store_in_no_possible_bucket_is_refused(quick: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="bucket"):
        compile_project(quick, tmp_path / "p.yaml", image=IMAGE, store="s3://BAD")
    with pytest.raises(ProjectError, match="gs://x"):
        compile_project(quick, tmp_path / "p.yaml", image=IMAGE, store="gs://x/y")
    assert not (tmp_path / "p.yaml").exists()


def test_a_place_that_cannot_be_written_is_named(quick: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.yaml").mkdir()
    for out in (tmp_path / "file" / "p.yaml", tmp_path / "folder.yaml"):
        with pytest.raises(ProjectError, match="cannot be written") as refused:
            compile_project(quick, out)
        assert refused.value.object == str(out)


def test_components_and_a_pipeline_s_file_are_not_both_written(tmp_path: Path) -> None:
    asked = ["compile", "--components", str(tmp_path / "c"), "--out", str(tmp_path / "x.yaml"), "--image", IMAGE]
    done = CliRunner().invoke(make_app("compile"), asked)
    assert isinstance(done.exception, ProjectError), done.output
    assert not list(tmp_path.iterdir())


def test_what_is_missing_for_a_cluster_is_said(quick: Project, tmp_path: Path) -> None:
    done = compile_project(quick, tmp_path / "p.yaml", store="file:///tmp/store")
    assert len(done.remarks) == 2


def test_another_suffix_is_refused(quick: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="yaml"):
        compile_project(quick, tmp_path / "p.txt")


def test_the_same_file_compiles_to_the_same_bytes(quick: Project, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        compile_project(quick, tmp_path / name)
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_a_component_is_found_by_its_step(quick: Project) -> None:
    named = {step.name for step in component_steps(build(quick)).values()}
    assert {"train.linear", "evaluate.linear", "select", "define"} <= named


def test_too_many_candidates_are_refused() -> None:
    many = "\n".join(f"  m{n}: {{kind: linear}}" for n in range(9))
    project = parse_project(QUICK.replace("  linear: {params: {epochs: 4}}", many), "quick.yaml")
    with pytest.raises(ProjectError, match="eight"):
        chosen(project, None)
    assert [c.name for c in chosen(project, ["m3", "m1"])] == ["m1", "m3"]

"""What every stage's folder keeps to: light imports, agreeing defaults, components that compile and install nothing."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from trimtab.core.blocks import STAGES
from trimtab.core.kubeflow import UNSET_IMAGE

HEAVY = ("kfp", "torch", "lightning", "sklearn", "pandas", "evidently", "onnxruntime", "onnx", "kserve", "polars")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:kfp")


def component(stage: str) -> Any:
    return getattr(importlib.import_module(f"trimtab.{stage}.component"), stage)


def configs(stage: str) -> list[type[BaseModel]]:
    """The stage's settings classes."""
    module = importlib.import_module(f"trimtab.{stage}.{'claim' if stage == 'define' else 'stage'}")
    return [
        v
        for n, v in vars(module).items()
        if n == f"{stage.capitalize()}Config" and inspect.isclass(v) and issubclass(v, BaseModel)
    ]


def test_the_stages_import_without_kfp_and_without_anything_heavy() -> None:
    code = (
        "import sys, importlib\n"
        "sys.modules['kfp'] = None\n"
        f"for s in {list(STAGES)!r}: importlib.import_module(f'trimtab.{{s}}.stage')\n"
        f"print([m for m in {HEAVY[1:]!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", "a stage imports these when it is imported, not when it needs them"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_s_folder_holds_the_same_files(stage: str) -> None:
    folder = Path(str(importlib.import_module(f"trimtab.{stage}").__file__)).parent
    assert {"__init__.py", "stage.py", "component.py", "README.md"} <= {f.name for f in folder.iterdir()}
    assert (folder / "README.md").read_text().startswith(f"# {stage}\n")
    assert importlib.import_module(f"trimtab.{stage}").__doc__


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_function_and_its_settings(stage: str) -> None:
    module = importlib.import_module(f"trimtab.{stage}.stage")
    function = getattr(module, stage)
    assert inspect.isfunction(function)
    assert function.__doc__
    assert len(configs(stage)) == 1
    assert configs(stage)[0].model_config.get("extra") == "forbid"
    assert configs(stage)[0].model_config.get("frozen") is True


@pytest.mark.parametrize("stage", STAGES)
def test_a_component_s_defaults_agree_with_the_stage_s_settings(stage: str) -> None:
    (settings,) = configs(stage)
    inputs = component(stage).component_spec.inputs or {}
    assert inputs["config"].type == "String"
    assert inputs["config"].default is None, "settings come from the project file and have no default of their own"
    for name, given in inputs.items():
        field = settings.model_fields.get(name)
        if field is not None and given.default is not None:
            assert given.default == field.default, f"{stage}: {name}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_component_compiles_and_installs_nothing(stage: str, tmp_path: Path) -> None:
    from kfp import compiler

    out = tmp_path / "component.yaml"
    compiler.Compiler().compile(component(stage), str(out))
    spec = next(iter(yaml.safe_load_all(out.read_text())))
    (executor,) = spec["deploymentSpec"]["executors"].values()
    text = json.dumps(executor["container"])
    assert executor["container"]["image"] == UNSET_IMAGE
    assert "pip" not in text.replace("pipeline", "")
    assert executor["container"]["command"][0] == "sh"
    assert f"from trimtab.{stage}" in executor["container"]["command"][3]

"""The compiled pipeline's own commands run where only the wheel is installed (and the libraries it asks for)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

_CLEAN = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
_COMPILE = """
import sys
from pathlib import Path
from typing import Any
from typing import Any
from trimtab.core.project import load_project
from trimtab.pipelines.compile import compile_project
compile_project(load_project(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python whose `trimtab` is the wheel built from this tree; the libraries are this environment's."""
    root = Path(__file__).resolve().parents[2]
    home = tmp_path_factory.mktemp("wheel")
    # Built from a copy: what git ignores in the tree is no business of the wheel's.
    for name in ("components", "pipelines", "serving", "monitoring", "examples"):
        shutil.copytree(root / name, home / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (root / name).exists():
            shutil.copy(root / name, home / "tree" / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(home)],
        cwd=home / "tree", check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = home.glob("*.whl")
    venv.create(home / "env", with_pip=False, symlinks=True)
    (site,) = (home / "env" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # A path file adds the libraries; path files that lie there, such as the editable installation's, are not read.
    (site / "libraries.pth").write_text(str(Path(str(yaml.__file__)).parents[1]) + "\n")
    return home / "env" / "bin" / "python3"


def command(compiled: Path, stage: str, executor_input: dict[str, Any]) -> list[str]:
    """A stage's command with its arguments, as KFP's launcher fills them in."""
    spec = next(iter(yaml.safe_load_all(compiled.read_text())))
    container = spec["deploymentSpec"]["executors"][f"exec-{stage}"]["container"]
    return [*container["command"], *(a.replace("{{$}}", json.dumps(executor_input)) for a in container["args"])]


def artifact(
    name: str, folder: Path, title: str = "system.Dataset", metadata: dict[str, Any] | None = None
) -> dict[str, Any]:
    kind = {"schemaTitle": title, "schemaVersion": "0.0.1"}
    return {"artifacts": [{"name": name, "type": kind, "uri": str(folder / name), "metadata": metadata or {}}]}


def test_the_compiled_commands_run_on_the_wheel_alone(wheel_python: Path, tmp_path: Path, root: Path) -> None:
    where = subprocess.run(
        [wheel_python, "-c", "import trimtab, trimtab.core.runs as r; print([*trimtab.__path__, r.__file__])"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=_CLEAN,
    ).stdout  # fmt: skip
    assert not [name for name in ("components", "pipelines", "serving", "monitoring") if str(root / name) in where]
    assert str(wheel_python.parents[1]) in where

    compiled = tmp_path / "diabetes.yaml"
    subprocess.run(
        [
            wheel_python, "-c", _COMPILE,
            str(root / "examples/diabetes/project.yaml"), str(compiled),
        ],
        check=True, capture_output=True, cwd=tmp_path, env=_CLEAN,
    )  # fmt: skip
    spec = next(iter(yaml.safe_load_all(compiled.read_text())))
    tasks = spec["root"]["dag"]["tasks"]

    def constant(stage: str) -> str:
        return str(tasks[stage]["inputs"]["parameters"]["config"]["runtimeValue"]["constant"])

    environment = {
        **_CLEAN,
        "PATH": f"{wheel_python.parent}:{os.environ['PATH']}",
        "TRIMTAB_STORE": (tmp_path / "store").as_uri(),
        "TRIMTAB_RUN_ID": "pod-run-1",
        "TRIMTAB_HOME": str(tmp_path / "home"),
    }

    def run(stage: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        out = tmp_path / stage
        out.mkdir()
        given = {"inputs": inputs, "outputs": {**outputs, "outputFile": str(out / "executor_output.json")}}
        done = subprocess.run(
            command(compiled, stage, given), env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads((out / "executor_output.json").read_text())

    defined = run(
        "define",
        {"parameterValues": {"config": constant("define"), "reason": "a test"}},
        {
            "parameters": {n: {"outputFile": str(tmp_path / "define" / n)} for n in ("source", "plan")},
            "artifacts": {"definition": artifact("definition", tmp_path / "define", "system.HTML")},
        },
    )
    source = defined["parameterValues"]["source"]
    assert json.loads(source)["sources"][0]["sklearn"] == "diabetes"

    read = run(
        "ingest",
        {"parameterValues": {"config": constant("ingest"), "source": source}},
        {"artifacts": {n: artifact(n, tmp_path / "ingest") for n in ("data", "judge")}},
    )
    assert read["artifacts"]["data"]["artifacts"][0]["metadata"]["rows"] == 442
    assert (tmp_path / "ingest" / "data" / "manifest.json").is_file()

    from trimtab.core import runs
    from trimtab.core.store import open_store

    store = open_store(environment["TRIMTAB_STORE"])
    (key,) = runs.list_runs(store)
    assert runs.by_id(store, "pod-run-1") == (key, 1)
    assert runs.read_request(store, key).reason == "a test"
    assert set(runs.stage_results(store, key)) == {"define", "ingest"}

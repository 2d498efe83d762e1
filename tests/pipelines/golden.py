"""The reviewed view of compiled pipelines: everything a cluster heeds, without KFP's own wrapper text.

`python -m tests.pipelines.golden` writes the files in `tests/pipelines/compiled/` anew; the difference is to be read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("compiled")
IMAGE = "registry.example/trimtab/stage@sha256:" + "0" * 64
STORE = "s3://bucket/prefix"
_BASE = """
name: quick
task: {kind: classification, target: species}
data: {source: {sklearn: iris}, folds: 2}
fields:
  sepal_length: {kind: number}
  petal_length: {kind: number}
gates: {beats_baseline: true}
"""
PROJECTS = {
    # As small as a file can be: every default of a cluster.
    "plain": _BASE + "candidates: [linear]\n",
    # Everything that can be said about resources.
    "gpu": _BASE
    + """
candidates:
  linear:
  mlp: {params: {hidden: [8]}}
resources:
  cpu: 0.5
  memory: 1Gi
  threads: 2
  accelerator: nvidia.com/gpu
  accelerator_type: NVIDIA-L4
  deterministic: true
  run_minutes: 90
  service_account: trainer
  labels: {team: risk}
  node_selector: {disk: ssd}
  stages:
    train: {cpu: 4, memory: 8Gi, minutes: 30, spot: gke}
    evaluate: {retries: 0, tolerations: [{key: dedicated, value: ml, effect: NoSchedule}]}
""",
}


def compile_to(name: str, folder: Path) -> Path:
    """Compile one of the projects; the same bytes each time."""
    from trimtab.core.project import parse_project
    from trimtab.pipelines.compile import compile_project

    out = folder / f"{name}.yaml"
    compile_project(parse_project(PROJECTS[name], name), out, image=IMAGE, store=STORE, code_version="0+golden")
    return out


def reviewed(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Both documents task by task, as paths and values; what most tasks have stands once.

    Commands (KFP's wrapper and the component's own text) and stages' settings are left to the tests that run them.
    """
    ir, platform = documents
    executors = ir["deploymentSpec"]["executors"]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    tasks: dict[str, dict[str, Any]] = {}
    for name, task in ir["root"]["dag"]["tasks"].items():
        label = ir["components"][task["componentRef"]["name"]]["executorLabel"]
        container = {k: v for k, v in executors[label]["container"].items() if k != "command"}
        container["args"] = " ".join(container["args"])
        tasks[name] = dict(_flat({"task": task, "container": container, "kubernetes": kubernetes[label]}))
    # What most tasks have stands once; a task that differs says so, also where it has nothing there.
    common: dict[str, Any] = {}
    for path in sorted({p for t in tasks.values() for p in t}):
        values = [json.dumps(t.get(path)) for t in tasks.values()]
        most = max(sorted(set(values)), key=values.count)
        if values.count(most) * 2 > len(values) and most != "null":
            common[path] = json.loads(most)
    return {
        "pipeline": dict(_flat({**ir["pipelineInfo"], **ir["root"]["inputDefinitions"]})),
        "most tasks": common,
        **{
            name: {path: t.get(path, "absent") for path in sorted({*t, *common}) if t.get(path) != common.get(path)}
            for name, t in tasks.items()
        },
    }


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values; list entries go by their name, or else by number."""
    if isinstance(value, str) and value.startswith("{") and len(value) > 50:
        value = " ".join(sorted(json.loads(value)))
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            named = isinstance(inner, dict) and "name" in inner
            yield from _flat(inner, f"{path}.{inner['name'] if named else i}")
    else:
        yield path, value


def text(documents: list[dict[str, Any]]) -> str:
    """The view as YAML."""
    return yaml.safe_dump(reviewed(documents), sort_keys=False, width=110)


def main() -> None:
    """Write the golden files anew."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in PROJECTS:
            compiled = compile_to(name, Path(folder))
            (FOLDER / f"{name}.yaml").write_text(text(list(yaml.safe_load_all(compiled.read_text()))))


if __name__ == "__main__":
    main()

"""Walking an uploaded pipeline: which task comes when, and what it is given.

Takes KFP's IR as it is compiled: constants, parameters and artifacts of the DAG around, outputs of other tasks, DAGs
inside DAGs, exit handlers (`ALL_UPSTREAM_TASKS_COMPLETED`). Loops, conditions and `OneOf` are refused: our pipelines
have none.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from tests.servers.kubeflow.executors import Executor, Outcome, TaskSpec

Told = Callable[[str, str, str, "Outcome | None"], None]
ZERO: dict[str, Any] = {
    "STRING": "", "NUMBER_INTEGER": 0, "NUMBER_DOUBLE": 0.0, "BOOLEAN": False, "LIST": [], "STRUCT": {},
}  # fmt: skip


class BrokenPipeline(Exception):
    """The IR cannot be walked: the backend takes it and its run fails later, so this one does too."""


@dataclass
class Values:
    """Parameters by name, and artifacts (runtime artifacts: name, uri, metadata, type) by name."""

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Walk:
    """One run of a pipeline.

    Attributes:
        ir, platform: the two documents; the second may be empty.
        run_id: the backend's id of the run.
        root: where artifacts go, `<scheme>://bucket/prefix`.
        executor: plays the tasks.
        told: called as (task, "started" or a final state, pod, outcome) whenever a task changes its state.
        cancelled: set when the run is terminated.
        retries: whether retry policies are heeded (a stock install does not, for ordinary failures).
        parallel: how many tasks at once.
    """

    ir: Mapping[str, Any]
    platform: Mapping[str, Any]
    run_id: str
    root: str
    executor: Executor
    told: Told
    cancelled: threading.Event
    retries: bool = False
    parallel: int = 2

    def play(self, parameters: Mapping[str, Any]) -> bool:
        """Play the run to its end; True when everything succeeded.

        Raises:
            BrokenPipeline: the IR holds what nobody can run.
        """
        with ThreadPoolExecutor(max_workers=self.parallel, thread_name_prefix="kfp-task") as pool:
            given = Values(_with_defaults(self.ir["root"], parameters))
            return self._dag(self.ir["root"]["dag"], given, pool) is not None

    def _dag(self, dag: Mapping[str, Any], given: Values, pool: ThreadPoolExecutor) -> dict[str, Values] | None:
        """The outputs of a DAG's tasks; None when one failed."""
        tasks: dict[str, Any] = dag["tasks"]
        done: dict[str, Values | None] = {}
        waiting = dict(tasks)
        running: dict[Future[Values | None], str] = {}
        while waiting or running:
            for name in [n for n, t in waiting.items() if _ready(t, tasks, done)]:
                task = waiting.pop(name)
                at_exit = _at_exit(task)
                if self.cancelled.is_set() or (not at_exit and _failed_before(task, done)):
                    done[name] = None
                    continue
                component = self.ir["components"][task["componentRef"]["name"]]
                inputs = _inputs(task, component, given, done)
                if "dag" in component:  # in this thread: a pool of two would wait for itself
                    inner = self._dag(component["dag"], inputs, pool)
                    done[name] = None if inner is None else _dag_outputs(component["dag"], inner)
                else:
                    running[pool.submit(self._task, name, task, component, inputs)] = name
            if not running:
                if waiting and not any(_ready(t, tasks, done) for t in waiting.values()):
                    raise BrokenPipeline(f"tasks that wait for each other: {', '.join(waiting)}")
                continue
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                done[running.pop(future)] = future.result()
        whole = {name: values for name, values in done.items() if values is not None}
        return whole if len(whole) == len(done) else None

    def _task(self, name: str, task: Mapping[str, Any], component: Mapping[str, Any], inputs: Values) -> Values | None:
        label = component.get("executorLabel", "")
        executors = self.ir["deploymentSpec"]["executors"]
        if label not in executors or "container" not in executors[label]:
            raise BrokenPipeline(f"task {name} names no executor: {label!r}")
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        policy = task.get("retryPolicy") or {}
        tries = 1 + (int(policy.get("maxRetryCount", 0)) if self.retries else 0)
        outcome = Outcome("FAILED")
        for n in range(tries):
            shown = name if n == 0 else f"{name}({n})"
            pod = f"{self.ir['pipelineInfo']['name']}-{self.run_id[:8]}-{name}-{n}"
            spec = TaskSpec(
                run_id=self.run_id,
                pipeline=self.ir["pipelineInfo"]["name"],
                name=name,
                display_name=(task.get("taskInfo") or {}).get("name", name),
                component=task["componentRef"]["name"],
                pod=pod,
                container=executors[label]["container"],
                kubernetes=kubernetes.get("executors", {}).get(label, {}),
                executor_input=self._executor_input(name, component, inputs),
                outputs=component.get("outputDefinitions") or {},
            )
            self.told(shown, "started", pod, None)
            outcome = self.executor.run(spec, self.cancelled)
            self.told(shown, outcome.state, pod, outcome)
            if outcome.state == "SUCCEEDED":
                return _task_outputs(spec, outcome)
            if self.cancelled.is_set():
                return None
        return None

    def _executor_input(self, name: str, component: Mapping[str, Any], inputs: Values) -> dict[str, Any]:
        """KFP's ExecutorInput: what the task is given and where its outputs go."""
        below = f"{self.root.rstrip('/')}/{self.ir['pipelineInfo']['name']}/{self.run_id}/{name}/1"
        outputs = component.get("outputDefinitions") or {}
        made: dict[str, Any] = {"outputFile": "/tmp/kfp_outputs/output_metadata.json"}
        if outputs.get("parameters"):
            made["parameters"] = {n: {"outputFile": f"/tmp/kfp/outputs/{n}"} for n in outputs["parameters"]}
        if outputs.get("artifacts"):
            made["artifacts"] = {
                n: {"artifacts": [{"name": n, "type": d["artifactType"], "uri": f"{below}/{n}", "metadata": {}}]}
                for n, d in outputs["artifacts"].items()
            }
        given: dict[str, Any] = {}
        if inputs.parameters:
            given["parameterValues"] = inputs.parameters
        if inputs.artifacts:
            given["artifacts"] = {n: {"artifacts": [a]} for n, a in inputs.artifacts.items()}
        return {"inputs": given, "outputs": made}


def _with_defaults(component: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    defined = (component.get("inputDefinitions") or {}).get("parameters") or {}
    return {n: given[n] if n in given else d.get("defaultValue") for n, d in defined.items()}


def _at_exit(task: Mapping[str, Any]) -> bool:
    policy = task.get("triggerPolicy") or {}
    if policy.get("condition"):
        raise BrokenPipeline("conditions are not played here")
    return policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"


def _needs(task: Mapping[str, Any]) -> set[str]:
    inputs = task.get("inputs") or {}
    made = [p["taskOutputParameter"]["producerTask"] for p in (inputs.get("parameters") or {}).values()
            if "taskOutputParameter" in p]  # fmt: skip
    made += [a["taskOutputArtifact"]["producerTask"] for a in (inputs.get("artifacts") or {}).values()
             if "taskOutputArtifact" in a]  # fmt: skip
    return {*made, *(task.get("dependentTasks") or [])}


def _ready(task: Mapping[str, Any], tasks: Mapping[str, Any], done: Mapping[str, Any]) -> bool:
    needs = _needs(task)
    if missing := needs - set(tasks):
        raise BrokenPipeline(f"no such task: {', '.join(missing)}")
    return needs <= set(done)


def _failed_before(task: Mapping[str, Any], done: Mapping[str, Any]) -> bool:
    return any(done[n] is None for n in _needs(task))


def _inputs(
    task: Mapping[str, Any], component: Mapping[str, Any], given: Values, done: Mapping[str, Values | None]
) -> Values:
    inputs = task.get("inputs") or {}
    parameters: dict[str, Any] = {}
    for name, source in (inputs.get("parameters") or {}).items():
        if "runtimeValue" in source:
            parameters[name] = _filled(source["runtimeValue"]["constant"], given.parameters)
        elif "componentInputParameter" in source:
            parameters[name] = given.parameters[source["componentInputParameter"]]
        elif "taskOutputParameter" in source:
            at = source["taskOutputParameter"]
            made = done[at["producerTask"]]
            parameters[name] = None if made is None else made.parameters[at["outputParameterKey"]]
        elif "taskFinalStatus" in source:
            made = done[source["taskFinalStatus"]["producerTask"]]
            parameters[name] = {"state": "FAILED" if made is None else "SUCCEEDED"}
        else:
            raise BrokenPipeline(f"input {name} comes from nowhere: {sorted(source)}")
    artifacts: dict[str, dict[str, Any]] = {}
    for name, source in (inputs.get("artifacts") or {}).items():
        if "componentInputArtifact" in source:
            artifacts[name] = given.artifacts[source["componentInputArtifact"]]
        else:
            at = source["taskOutputArtifact"]
            made = done[at["producerTask"]]
            if made is not None:
                artifacts[name] = made.artifacts[at["outputArtifactKey"]]
    return Values({**_with_defaults(component, parameters), **parameters}, artifacts)


def _filled(constant: Any, parameters: Mapping[str, Any]) -> Any:
    """A constant with `{{$.inputs.parameters['x']}}` in it filled in."""
    if not isinstance(constant, str) or "{{$.inputs.parameters[" not in constant:
        return constant
    for name, value in parameters.items():
        text = value if isinstance(value, str) else json.dumps(value)
        constant = constant.replace(f"{{{{$.inputs.parameters['{name}']}}}}", text)
    return constant


def _task_outputs(spec: TaskSpec, outcome: Outcome) -> Values:
    told = outcome.output
    parameters: dict[str, Any] = {}
    for name, definition in (spec.outputs.get("parameters") or {}).items():
        zero = ZERO.get(definition.get("parameterType", "STRING"), "")
        parameters[name] = told.get("parameterValues", {}).get(name, zero)
    artifacts: dict[str, dict[str, Any]] = {}
    for name in spec.outputs.get("artifacts") or {}:
        planned = spec.executor_input["outputs"]["artifacts"][name]["artifacts"][0]
        said = (told.get("artifacts", {}).get(name, {}).get("artifacts") or [{}])[0]
        artifacts[name] = {**planned, "metadata": said.get("metadata") or {}}
    return Values(parameters, artifacts)


def _dag_outputs(dag: Mapping[str, Any], made: Mapping[str, Values]) -> Values:
    outputs = dag.get("outputs") or {}
    values = Values()
    for name, source in (outputs.get("parameters") or {}).items():
        at = source.get("valueFromParameter")
        if at is None:
            raise BrokenPipeline(f"output {name} is chosen at run time")
        values.parameters[name] = made[at["producerSubtask"]].parameters[at["outputParameterKey"]]
    for name, source in (outputs.get("artifacts") or {}).items():
        at = source["artifactSelectors"][0]
        values.artifacts[name] = made[at["producerSubtask"]].artifacts[at["outputArtifactKey"]]
    return values

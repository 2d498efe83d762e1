"""What plays a task of a run: a script, or a process of this machine that runs the task's own compiled command.

Anything with `run(task, cancelled) -> Outcome` can be plugged in, pods of a node for example; `artifacts.localised`
helps where files have to travel.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tests.servers.kubeflow.artifacts import Objects, localised

RUN_LABEL = "metadata.labels['pipeline/runid']"


@dataclass(frozen=True)
class TaskSpec:
    """One task, ready to be run.

    Attributes:
        run_id, pipeline: the backend's id of the run, the pipeline's name.
        name, display_name, component: of the task.
        pod: the name of its pod.
        container: the executor of the IR: image, command, args, env, resources.
        kubernetes: the executor's part of the platform document.
        executor_input: KFP's ExecutorInput; artifacts by their remote URIs.
        outputs: the component's output definitions.
    """

    run_id: str
    pipeline: str
    name: str
    display_name: str
    component: str
    pod: str
    container: Mapping[str, Any]
    kubernetes: Mapping[str, Any]
    executor_input: dict[str, Any]
    outputs: Mapping[str, Any]

    def command(self, executor_input: Mapping[str, Any] | None = None) -> list[str]:
        """Command and arguments with the placeholders filled, as KFP's launcher fills them."""
        whole = json.dumps(self.executor_input if executor_input is None else executor_input)
        words = [*self.container.get("command", []), *self.container.get("args", [])]
        filled = []
        for word in words:
            filled.append(word.replace("{{$}}", whole) if "{{$" in word else word)
            if left := re.search(r"\{\{\$[^}]*\}\}", filled[-1].replace(whole, "")):
                raise ValueError(f"a placeholder that is not known here: {left[0]}")
        return filled

    def environment(self, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The variables of its container: the IR's, the run's id, and secrets'.

        Args:
            secrets: the namespace's secrets by name, each its keys' values.

        Raises:
            KeyError: a secret or key that it needs is not there; a pod would not start.
        """
        found = {e["name"]: e["value"] for e in self.container.get("env", [])}
        for entry in self.kubernetes.get("fieldPathAsEnv", []):
            if entry["fieldPath"] == RUN_LABEL:
                found[entry["name"]] = self.run_id
        for entry in self.kubernetes.get("secretAsEnv", []):
            name = entry.get("secretName") or entry["secretNameParameter"]["runtimeValue"]["constant"]
            for pair in entry["keyToEnv"]:
                if name not in secrets and entry.get("optional"):
                    continue
                found[pair["envVar"]] = secrets[name][pair["secretKey"]]
        return found


@dataclass
class Outcome:
    """How a task ended.

    Attributes:
        state: SUCCEEDED or FAILED.
        output: KFP's executor output: `parameterValues`, `artifacts`.
        log: what its container wrote.
        message: what Argo's Workflow says about its node.
    """

    state: Literal["SUCCEEDED", "FAILED"]
    output: dict[str, Any] = field(default_factory=dict)
    log: str = ""
    message: str = ""


class Executor(Protocol):
    """Plays tasks; called from several threads."""

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        """Run a task to its end; end it early when `cancelled` is set."""
        ...


class Scripted:
    """Does nothing, as told.

    Args:
        fail: names of tasks that fail, with what their log says.
        hold: tasks that run until `release` is set or the run is terminated.
        parameters: output parameters by task.
    """

    def __init__(
        self,
        fail: Mapping[str, str] | None = None,
        hold: Collection[str] = (),
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.fail = dict(fail or {})
        self.hold = set(hold)
        self.release = threading.Event()
        self.parameters = dict(parameters or {})
        self.ran: list[str] = []

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        self.ran.append(task.name)
        while task.name in self.hold and not self.release.is_set() and not cancelled.is_set():
            self.release.wait(0.02)
        if cancelled.is_set():
            return Outcome("FAILED", message="workflow shutdown with strategy:  Terminate")
        if task.name in self.fail:
            return Outcome("FAILED", log=self.fail[task.name], message="main: Error (exit code 1)")
        return Outcome("SUCCEEDED", {"parameterValues": dict(self.parameters.get(task.name, {}))})


class Processes:
    """Runs each task's own compiled command as a process here, with the Python that runs this.

    Artifacts travel through `objects` as they do between pods: nothing is left on disk between two tasks.

    Args:
        objects: where artifacts are kept.
        secrets: the secrets that pods would find, by name.
        environment: further variables.
    """

    def __init__(
        self,
        objects: Objects,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._objects = objects
        self._secrets = dict(secrets or {})
        self._environment = dict(environment or {})

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        folder = Path(tempfile.mkdtemp(prefix=f"pod-{task.name}-"))
        try:
            return self._run(task, cancelled, folder)
        except KeyError as error:
            return Outcome("FAILED", message=f"secret {error} not found")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, task: TaskSpec, cancelled: threading.Event, folder: Path) -> Outcome:
        local = localised(task.executor_input, folder)
        for uri, path in local.inputs:
            self._objects.download(uri, path)
        mounts = self._mount(task, folder)
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("TRIMTAB_", "AWS_"))}
        environment = {**mine, **task.environment(self._secrets), **self._environment}
        for name, value in list(environment.items()):
            for mounted, here in mounts.items():
                if value.startswith(mounted):
                    environment[name] = here + value.removeprefix(mounted)
        (folder / "tmp").mkdir()
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{environment.get('PATH', '')}",
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder),
        }
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                task.command(local.executor_input), cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            while process.poll() is None:
                if cancelled.wait(0.02):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        text = log.read_text(errors="replace")
        self._objects.put(f"{task_root(task)}/executor-logs-0", text.encode())
        if process.returncode != 0:
            return Outcome("FAILED", log=text, message=f"main: Error (exit code {process.returncode})")
        for path, uri in local.outputs:
            self._objects.upload(path, uri)
        output = json.loads(local.output_file.read_text()) if local.output_file.exists() else {}
        values = output.setdefault("parameterValues", {})
        for name, path in local.parameters.items():
            if name not in values and path.exists():
                values[name] = path.read_text()
        return Outcome("SUCCEEDED", output, log=text)

    def _mount(self, task: TaskSpec, folder: Path) -> dict[str, str]:
        mounts = {}
        for entry in task.kubernetes.get("secretAsVolume", []):
            name = entry.get("secretName") or entry["secretNameParameter"]["runtimeValue"]["constant"]
            if name not in self._secrets and entry.get("optional"):
                continue
            here = folder / "secrets" / name
            here.mkdir(parents=True)
            for key, value in self._secrets[name].items():
                (here / key).touch(mode=0o600)
                (here / key).write_text(value)
            mounts[entry["mountPath"]] = str(here)
        return mounts


class Some:
    """Plays some tasks by one executor and the rest by another.

    Args:
        names: tasks that `these` plays.
        these: their executor.
        others: the executor of all the rest.
    """

    def __init__(self, names: Collection[str], these: Executor, others: Executor) -> None:
        self._names = set(names)
        self._these = these
        self._others = others

    def run(self, task: TaskSpec, cancelled: threading.Event) -> Outcome:
        return (self._these if task.name in self._names else self._others).run(task, cancelled)


def task_root(task: TaskSpec) -> str:
    """Where a task's artifacts and log go: `<root>/<pipeline>/<run>/<task>/<uuid>`."""
    made = task.executor_input["outputs"].get("artifacts") or {}
    for entry in made.values():
        return str(entry["artifacts"][0]["uri"]).rpartition("/")[0]
    return f"{task.pipeline}/{task.run_id}/{task.name}/1"

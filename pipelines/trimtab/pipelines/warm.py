"""A process that has imported what fitting needs, and forks stages from itself.

Imports are most of a small stage's time: `lightning` alone costs 6 CPU seconds, and train, evaluate, select and
export would each pay for torch again. Here they are paid once a run, beside the light stages that come first. A
stage stays a process of its own, with its own memory, environment and exit code.

Forking is safe where nothing but imports has happened: no thread runs, no OpenMP pool and no CUDA context exist.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

# What the stages below import; a module that is not installed is left out (the stage itself then says so).
MODULES = (
    "kfp.dsl.executor_main",
    "pandas",
    "pyarrow.parquet",
    "lightning.pytorch",
    "onnx",
    "onnxruntime",
    "safetensors.numpy",
)
# What the other stages share; imported by the process that they are forked from. (pyarrow imports pandas, where that
# is installed, at the first array it makes.)
LIGHT = ("pandas", "pyarrow.compute", "pyarrow.csv", "pyarrow.parquet", "trimtab.core.datasets", "trimtab.core.tables")
STAGES = frozenset({"baseline", "train", "evaluate", "select", "export"})


@dataclass(frozen=True)
class Task:
    """One KFP task: the component's source, the executor's arguments, and the task's own environment."""

    source: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


class WarmProcess:
    """The process that stages are forked from; it ends with the one that made it.

    Args:
        modules: what it imports before the first stage; a stage asked for earlier waits.
    """

    def __init__(self, modules: Sequence[str] = MODULES) -> None:
        self._socket, theirs = socket.socketpair()
        _flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _leave(lambda: _serve(theirs, modules))
        theirs.close()
        self._lines = self._socket.makefile("r", encoding="utf-8")

    def run(self, task: Task) -> int | None:
        """Run a task to its end and give its exit code; None when this process is no more."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.sendall(json.dumps(asdict(task)).encode() + b"\n")
            return int(self._lines.readline())
        return None

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._lines.close()
            self._socket.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def fork_task(task: Task) -> int:
    """Run a task in a fork of this process, and give its exit code (128 and the signal where one ended it)."""
    _flush()
    pid = os.fork()
    if pid == 0:
        _leave(lambda: _execute(task))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def load(modules: Sequence[str]) -> None:
    """Import what is installed of these."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _serve(connection: socket.socket, modules: Sequence[str]) -> int:
    os.environ["_KFP_RUNTIME"] = "true"  # KFP's own switch: its executor without its compiler and client
    load(modules)
    with connection.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            code = fork_task(Task(**json.loads(line)))
            connection.sendall(f"{code}\n".encode())
    return 0


def _execute(task: Task) -> int:
    """What KFP's own shell command does: put the component's source into a file and run the executor on it."""
    os.environ.update({**task.environment, "_KFP_RUNTIME": "true"})
    logging.getLogger().handlers.clear()
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "ephemeral_component.py"
        module.write_text(task.source, encoding="utf-8")
        sys.argv = ["executor_main", "--component_module_path", str(module), *task.arguments]
        from kfp.dsl.executor_main import executor_main

        executor_main()
    return 0


def _leave(work: object) -> None:
    """Do the work of a forked process and end it, without running what its parent had registered for its own end."""
    code = 1
    try:
        code = work()  # type: ignore[operator]
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of a process: whatever it is goes to the log
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            _flush()
        os._exit(code)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()

"""How KFP's local runner starts a task here: by a fork in place of a shell and a fresh Python."""

from __future__ import annotations

from typing import Any

from kfp.local import status, subprocess_task_handler

from trimtab.pipelines.warm import STAGES, Task, WarmProcess, fork_task

_COMMAND = 4  # sh, -ec, script, source; the executor's arguments follow


class ForkingTaskHandler(subprocess_task_handler.SubprocessTaskHandler):  # type: ignore[misc]
    """KFP's handler for tasks in subprocesses; a command of another shape than ours is left to it.

    Attributes:
        warm: the process that stages which fit are forked from; None forks them from this one.
    """

    warm: WarmProcess | None = None

    def run(self) -> status.Status:
        """As KFP's: the task's status."""
        task = task_of(list(self.full_command), dict(self.env_vars))
        if task is None:
            return super().run()
        function = task.arguments[task.arguments.index("--function_to_execute") + 1]
        code = self.warm.run(task) if self.warm is not None and function in STAGES else fork_task(task)
        if code is None:  # the warm process is gone: killed for memory, most likely
            ForkingTaskHandler.warm = None
            code = fork_task(task)
        return status.Status.SUCCESS if code == 0 else status.Status.FAILURE


def task_of(command: list[str], environment: dict[str, str]) -> Task | None:
    """A lightweight component's command as a task; None when it does more than run KFP's executor on its source."""
    if len(command) < _COMMAND + 2 or command[:2] != ["sh", "-ec"] or "ephemeral_component.py" not in command[2]:
        return None
    if "pip install" in command[2] or "--function_to_execute" not in command[_COMMAND:]:
        return None
    return Task(command[_COMMAND - 1], command[_COMMAND:], environment)


def install(warm: WarmProcess | None) -> None:
    """Make KFP's local runner in this process start its tasks so. (It looks its handler up by this name.)"""
    ForkingTaskHandler.warm = warm
    module: Any = subprocess_task_handler
    module.SubprocessTaskHandler = ForkingTaskHandler

"""A process's name outlives its id."""

from __future__ import annotations

import os
import subprocess
import sys

from trimtab.core import processes


def test_a_process_that_ended_no_longer_runs() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = processes.local_id(child.pid)
    assert processes.running(name)
    child.communicate(b"\n")
    assert not processes.running(name)


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = processes.local_id(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it ended, and nobody has reaped it
    assert not processes.running(name)
    child.wait()


def test_the_same_id_at_another_start_is_another_process() -> None:
    boot, pid, start = processes.local_id().split("-")[1:]
    assert processes.running(f"local-{boot}-{pid}-{start}")
    assert not processes.running(f"local-{boot}-{pid}-{int(start) + 1}")
    assert not processes.running(f"local-{'f' * 8}-{pid}-{start}")


def test_a_stage_ends_with_its_run() -> None:
    code = "import sys, time; from trimtab.core import processes as p; p.end_with(sys.argv[1], 0.05); time.sleep(60)"
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stage = subprocess.Popen([sys.executable, "-c", code, processes.local_id(owner.pid)])
    owner.kill()
    owner.communicate()
    assert stage.wait(120) == 137

"""A real dockerd for the tests, over `.servers/docker/`: Debian's, without bridge or iptables, shared by sessions.

The first session that needs it starts it, others that come meanwhile use the same, and the last one to go ends it:
each holds a shared lock on a file while it works. `TRIMTAB_TEST_DOCKER=unix:///var/run/docker.sock` names a daemon of
the user's instead; it is left running.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".servers" / "docker"
CLIENTS = ("/usr/bin/docker", "docker")  # a newer client elsewhere on PATH may lack the plugin that builds
NONE_THERE = (
    "no dockerd to test with: run `make servers` as root on Debian or Ubuntu (installs docker.io), or name a daemon: "
    "TRIMTAB_TEST_DOCKER=unix:///var/run/docker.sock"
)
_READY_SECONDS, _END_SECONDS = 60.0, 60.0
_KEPT_SECONDS = 1800.0


def find() -> str | None:
    """The daemon's program, or the address of the user's own daemon; None where there is neither."""
    if given := os.environ.get("TRIMTAB_TEST_DOCKER"):
        return given
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") if os.geteuid() == 0 else None


class Docker:
    """A Docker daemon, and what tests ask of it.

    Attributes:
        host: its address, for `DOCKER_HOST`.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder.resolve()  # a socket's path has 108 characters at most
        self._given = os.environ.get("TRIMTAB_TEST_DOCKER", "")
        self.host = self._given or f"unix://{self.folder}/docker.sock"
        self._users: IO[str] | None = None
        self._built: dict[str, str] = {}

    def __enter__(self) -> Docker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which clients, KFP's DockerRunner among them, find this daemon."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER": _client(), "DOCKER_CONFIG": str(self.folder / "conf")}

    def start(self) -> None:
        """Start the daemon, or join the sessions that use it.

        Raises:
            RuntimeError: it did not come up; its last words are in the message.
        """
        if self._given:
            self("version")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._turn():
            self._users = (self.folder / "users.lock").open("a")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self._answers():
                self._launch()

    def stop(self) -> None:
        """Leave the daemon; it ends when nobody else uses it."""
        if self._users is None:
            return
        with self._turn():
            users, self._users = self._users, None
            try:
                fcntl.flock(users, fcntl.LOCK_UN)
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            else:
                self._end()
            finally:
                users.close()

    def __call__(self, *words: str, check: bool = True, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the docker client.

        Raises:
            AssertionError: it failed, and `check` says that it may not; with what it said.
        """
        done = subprocess.run(
            [_client(), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            said = (done.stdout + done.stderr)[-3000:]
            raise AssertionError(f"docker {' '.join(words[:6])} … failed (exit {done.returncode}): {said}")
        return done

    def build(self, target: str, *, root: Path = ROOT, again: bool = False, options: tuple[str, ...] = ()) -> str:
        """Build one of our images by the script that users run; instant when nothing has changed.

        Args:
            target: `server`, `monitor` or `stage`.
            root: the sources.
            again: ask the builder once more, although this object has built the target.
            options: more of the script's; with them it is asked in any case.

        Returns:
            The image's name, `trimtab-<target>:<version>-<12 hex of its id>`.

        Raises:
            AssertionError: it was not built; with the script's last words.
        """
        usual = root == ROOT and not options
        if usual and not again and target in self._built:
            return self._built[target]
        script = str(root / "manifests" / "images" / "build.py")
        words = [sys.executable, script, "--root", str(root), "--network", "host", *options, target]
        base = self.base()
        words += ["--base", base] if base else []
        done = subprocess.run(words, env=self.environ, capture_output=True, text=True, check=False, timeout=1500)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-6000:]}"
        name = done.stdout.split()[-1]
        if usual:
            self._built[target] = name
        return name

    def base(self) -> str:
        """The base image made by `make servers` where no registry is reachable; empty: the one that is pinned."""
        archive = self.folder / "base.tar"
        if self._given or not archive.exists():
            return ""
        stamp = str(archive.stat().st_mtime_ns)
        known = self("images", "--quiet", "--no-trunc", f"trimtab-base:{stamp}").stdout.split()
        if not known:
            self("import", str(archive), f"trimtab-base:{stamp}")
        return f"trimtab-base:{stamp}"

    def size(self, image: str) -> int:
        """Unpacked bytes of an image's layers."""
        return int(self("image", "inspect", "--format", "{{.Size}}", image).stdout)

    def save(self, image: str) -> Path:
        """An image as a docker-archive tar below `.servers/docker/saved/`, for `ctr -n k8s.io images import`.

        It is made once: an image's name holds its id. Archives of other ids that are half an hour old are removed: they
        are large.

        Args:
            image: its name, as `build` gives it; the name goes into the archive.
        """
        kept = self.folder / "saved" / f"{image.replace(':', '-')}.tar"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            for older in kept.parent.glob(f"{image.partition(':')[0]}-*.tar"):
                # Not one that another session may be about to read.
                if time.time() - older.stat().st_mtime > _KEPT_SECONDS:
                    older.unlink(missing_ok=True)
            part = kept.with_suffix(f".{os.getpid()}")
            self("save", "--output", str(part), image, seconds=900)
            part.replace(kept)
        return kept

    def run(
        self, image: str, *command: str, options: tuple[str, ...] = (), check: bool = True, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end, without a network unless the options name one, and remove it."""
        return self("run", "--rm", *_apart(options), image, *command, check=check, seconds=seconds)

    @contextlib.contextmanager
    def container(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[str]:
        """A running container's id, without a network unless the options name one; it is removed at the end."""
        started = self("run", "--detach", *_apart(options), image, *command).stdout.strip()
        try:
            yield started
        finally:
            self("rm", "--force", "--volumes", started, check=False)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Alone among all that start or end the daemon."""
        with (self.folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _answers(self) -> bool:
        return self("version", "--format", "{{.Server.Version}}", check=False, seconds=20).returncode == 0

    def _launch(self) -> None:
        program = find()
        if program is None:
            raise RuntimeError(NONE_THERE)
        here = self.folder
        log = here / "dockerd.log"
        command = [program, "--data-root", f"{here}/data", "--exec-root", f"{here}/exec", "-p", f"{here}/pid"]
        command += ["-H", self.host, "--storage-driver", "overlay2", "--bridge=none", "--iptables=false"]
        command += ["--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        (here / "pid").unlink(missing_ok=True)
        with log.open("w") as out:
            # A session of its own: one that is interrupted does not take the daemon from the others.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, close_fds=True
            )
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if self._answers():
                # It outlives whoever started it, so that nobody is to warn of a child that still runs.
                process.returncode = 0
                return
            time.sleep(0.2)
        process.kill()
        process.wait()
        raise RuntimeError(f"dockerd did not come up: {log.read_text()[-3000:]}")

    def _end(self) -> None:
        """End the daemon, by force where it does not end when asked to."""
        try:
            number = int((self.folder / "pid").read_text())
            process = os.pidfd_open(number)
        except (FileNotFoundError, ProcessLookupError):
            return
        try:
            for how in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(process, how)
                if select.select([process], [], [], _END_SECONDS)[0]:
                    break
        finally:
            os.close(process)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)  # ours, if this session started it


def _apart(options: tuple[str, ...]) -> tuple[str, ...]:
    """Options of a container, which has no network where they name none: the daemon has no bridge."""
    return options if any(option.startswith("--network") for option in options) else ("--network=none", *options)


def _client() -> str:
    return next(filter(None, map(shutil.which, CLIENTS)), "docker")

"""A process that publishes, made to be killed: it imports once, then forks a child for each publish.

Lines in: `<delay in seconds or -> <folder>`. For each, a line out: what the child printed, or `killed`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path


def main() -> None:
    """Serve until stdin ends."""
    import minio  # noqa: F401 (imported once, here, and not in each child)

    from trimtab.core import settings, signing
    from trimtab.core.bundle import publish_bundle
    from trimtab.core.store import open_store

    env = settings.load()
    key = signing.load_or_create_key(env.signing_key)
    print("ready", flush=True)
    for line in sys.stdin:
        delay, _, folder = line.strip().partition(" ")
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(out)
            store = open_store(env.store, env)
            version = publish_bundle(
                store, "digits", Path(folder), key, metrics={}, threshold=None, lineage={}, project={}
            )
            os.write(into, version.encode())
            os._exit(0)
        os.close(into)
        said = b""
        if delay == "-" or select.select([out], [], [], float(delay))[0]:
            said = os.read(out, 100)
        else:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(out)
        print(said.decode() or "killed", flush=True)


if __name__ == "__main__":
    main()

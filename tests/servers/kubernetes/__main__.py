"""A Kubernetes node to try things on: `python -m tests.servers.kubernetes`; it ends with Enter or Ctrl-C."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from tests.servers.kubernetes import node


def main() -> int:
    """Start a node, say how it is reached, wait for Enter."""
    if why := node.lacking():
        print(f"no Kubernetes node here: {why}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="trimtab-node-"))
    ours = node.Node(folder)
    try:
        ours.start()
        print(f"export KUBECONFIG={ours.kubeconfig}\nEnter ends it.", flush=True)
        with contextlib.suppress(EOFError, KeyboardInterrupt):
            input()
    finally:
        ours.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

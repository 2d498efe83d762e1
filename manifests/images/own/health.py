"""Ask the ports of this container: 0 when one of them answers 200. `health.py PORT/PATH…`."""

from __future__ import annotations

import http.client
import sys


def answers(place: str) -> bool:
    """Whether a port of this container answers 200 on a path."""
    port, _, path = place.partition("/")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=2)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if any(map(answers, sys.argv[1:])) else 1)

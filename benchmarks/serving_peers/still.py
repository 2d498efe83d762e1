"""What the machine and the load generator do by themselves: each request gets the same few bytes back, unread.

uvloop and a protocol of a dozen lines; no HTTP is parsed, nothing is computed. Its tail is the least that any server
could show here.

    python still.py PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 19\r\n\r\n{"predictions":[0]}'


class Still(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._write = transport.write

    def data_received(self, _: bytes) -> None:
        self._write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Still, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

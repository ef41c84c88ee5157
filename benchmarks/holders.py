"""Idle sockets beyond those that one process may have: they are opened, and kept until the process is ended.

``python -m benchmarks.holders --target 8000 --count 15000 --address 127.0.1.1 --port 9000`` tells each client that
connects to its port when all sockets are open.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource

import uvloop

from benchmarks.load_client import Tally, Viewer, connect_patiently

FULL = b"full"
HANDSHAKES = 32  # under way at once


async def main() -> None:
    """Open the sockets, and stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--target", "--count", "--port"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--address", required=True)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    is_full = asyncio.Event()
    tally = Tally()
    handshakes = asyncio.Semaphore(HANDSHAKES)

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_full.wait()
        writer.write(FULL)
        writer.close()

    async def hold(number: int) -> Viewer:
        url = f"ws://127.0.0.1:{options.target}/ws/held-{os.getpid()}-{number}/"
        async with handshakes:
            return await connect_patiently(Viewer(tally), url, source=options.address)

    server = await asyncio.start_server(tell, "127.0.0.1", options.port)
    await asyncio.gather(*map(hold, range(options.count)))
    is_full.set()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

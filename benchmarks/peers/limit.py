"""The limit: the least that Python needs. A picows server and a raw HTTP client that copies bytes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from urllib.parse import urlsplit

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

AGENT = urlsplit(os.environ["AGENT_URL"])
DATA = re.compile(rb"data: (.*)\n\n")


class Upstream(asyncio.Protocol):
    """One answer: each event's data goes to the socket as it is."""

    def __init__(self, viewer: WSTransport) -> None:
        self._viewer = viewer
        self._received = b""

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        end = 0
        for event in DATA.finditer(received):
            self._viewer.send(WSMsgType.TEXT, event[1])
            end = event.end()
        self._received = received[end:]


class Viewer(WSListener):
    """One socket."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._upstreams: set[asyncio.Task[None]] = set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            message = json.loads(frame.get_payload_as_bytes())
            task = asyncio.create_task(self._ask(transport, message))
            self._upstreams.add(task)
            task.add_done_callback(self._upstreams.discard)
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()

    async def _ask(self, transport: WSTransport, message: dict[str, object]) -> None:
        loop = asyncio.get_running_loop()
        upstream, _ = await loop.create_connection(lambda: Upstream(transport), AGENT.hostname, AGENT.port)
        body = json.dumps(message).encode()
        upstream.write(
            b"POST /agent/message/stream HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )


def accept(request: WSUpgradeRequest) -> Viewer:
    """Take every socket."""
    return Viewer()


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await ws_create_server(accept, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    sys.exit(uvloop.run(serve(parser.parse_args().port)))

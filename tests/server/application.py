"""An ASGI application that does whatever a path says, also what none should do, under the gateway's server class.

``python -m tests.server.application --port 8000 CLOSE_SECONDS=1`` serves it, with other limits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import threading
from typing import Any
from urllib.parse import parse_qs, unquote

from relay.conf.parsers import proxies
from relay.server import limits, reactor

reactor.install()

from twisted.web.http import _ChunkedTransferDecoder  # noqa: E402 - after the reactor

from relay.server.http import HttpRequest  # noqa: E402
from relay.server.server import HardenedServer  # noqa: E402
from relay.server.websocket import WebSocketConnection  # noqa: E402

CHUNK = 64 * 1024
server: HardenedServer
released = asyncio.Event()
taken = {"messages": 0, "bytes": 0, "last_error": "", "last_code": 0}
work: dict[str, int] = {}  # the steps of this iteration of the event loop, by kind
most_work = {"frames": 0, "chunks": 0, "requests": 0}  # of any iteration
all_work = {"frames": 0, "chunks": 0, "requests": 0}


async def application(scope: Any, receive: Any, send: Any) -> None:
    name, *words = unquote(scope["path"]).strip("/").split("/")
    places = SOCKETS if scope["type"] == "websocket" else REQUESTS
    await places[name](scope, receive, send, *words)


def counted(kind: str, step: Any) -> Any:
    """A function that counts how often it is called in one iteration of the event loop."""

    def count(*arguments: Any) -> Any:
        if not work:
            asyncio.get_running_loop().call_soon(work.clear)
        work[kind] = work.get(kind, 0) + 1
        most_work[kind] = max(most_work[kind], work[kind])
        all_work[kind] += 1
        return step(*arguments)

    return count


# Sockets.


async def accept(receive: Any, send: Any, **fields: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", **fields})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    taken["last_code"] = message["code"]


async def now(scope: Any, receive: Any, send: Any) -> None:
    """Send by the server's extension until it refuses, then say how often it did not."""
    await accept(receive, send)
    send_now, count = scope["extensions"]["relay.send_now"], 0
    while send_now(["x" * CHUNK, "y"]):
        count += 1
    await send({"type": "websocket.send", "text": str(count)})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    taken["last_error"] = f"sent after the end: {send_now(['x'])}"


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Echo, but accept only when released."""
    await released.wait()
    await echo(scope, receive, send)


async def close(scope: Any, receive: Any, send: Any, code: str, reason: str = "") -> None:
    await accept(receive, send)
    await send({"type": "websocket.close", "code": int(code), "reason": reason})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})


async def fail(scope: Any, receive: Any, send: Any, when: str) -> None:
    if when == "late":
        await accept(receive, send)
        await receive()
    raise RuntimeError("as the test wants it")


async def leave(scope: Any, receive: Any, send: Any, when: str) -> None:
    if when == "late":
        await accept(receive, send)


async def hang(scope: Any, receive: Any, send: Any, when: str, times: str = "0") -> None:
    if when == "late":
        await accept(receive, send)
    for _ in range(int(times) + 1):  # so often it ignores that it is cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            taken["messages"] += 1
    raise asyncio.CancelledError


async def subprotocol(scope: Any, receive: Any, send: Any, name: str) -> None:
    await accept(receive, send, subprotocol=name)
    await send({"type": "websocket.send", "text": json.dumps(scope["subprotocols"])})
    await receive()


async def headers(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send, headers=[(b"x-first", b"1"), (b"x-second", b"2"), (b"x-second", b"3")])
    await receive()


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await send({"type": "websocket.send", "text": ""})
    await send({"type": "websocket.send", "bytes": b""})
    await receive()


async def flood(scope: Any, receive: Any, send: Any, megabytes: str) -> None:
    await accept(receive, send)
    for _ in range(int(megabytes) * 16):
        try:
            await send({"type": "websocket.send", "bytes": bytes(CHUNK)})
        except OSError as exc:
            taken["last_error"] = type(exc).__name__
            raise
    await send({"type": "websocket.close", "code": 1000})


async def flood_later(scope: Any, receive: Any, send: Any) -> None:
    """Send nothing until released, then more than the client reads."""
    await accept(receive, send)
    await released.wait()
    released.clear()
    while True:
        try:
            await send({"type": "websocket.send", "bytes": bytes(CHUNK)})
        except OSError as exc:
            taken["last_error"] = f"flooded: {type(exc).__name__}"
            raise


async def stuck(scope: Any, receive: Any, send: Any) -> None:
    """Send until the client must read first, then close with a last text in front."""

    async def fill() -> None:
        nonlocal sent
        with contextlib.suppress(OSError):
            while True:
                await send({"type": "websocket.send", "bytes": bytes(CHUNK)})
                sent += 1

    sent, seen = 0, -1
    await accept(receive, send)
    filling = asyncio.create_task(fill())
    while sent > seen:
        seen = sent
        await asyncio.sleep(0.2)
    await send({"type": "websocket.close", "code": 4508, "relay.last_text": "goodbye"})
    await filling
    taken["last_error"] = "stuck"


async def count_turns(sending: Any) -> int:
    """Await something, and return how often others had their turn meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    await sending
    others.cancel()
    return turns


async def burst(scope: Any, receive: Any, send: Any, messages: str) -> None:
    """Send as fast as the client takes it, then say how often others had their turn meanwhile."""

    async def sending() -> None:
        for _ in range(int(messages)):
            await send({"type": "websocket.send", "bytes": bytes(1000)})

    await accept(receive, send)
    await send({"type": "websocket.send", "text": str(await count_turns(sending()))})
    await receive()


async def busy(scope: Any, receive: Any, send: Any) -> None:
    """Take nothing until released, then everything."""
    await accept(receive, send)
    await released.wait()
    while (message := await receive())["type"] == "websocket.receive":
        taken["messages"] += 1
        taken["bytes"] += len(message.get("bytes") or message.get("text"))
        if message.get("text") == "end":
            await send({"type": "websocket.send", "text": json.dumps(taken)})


async def take(scope: Any, receive: Any, send: Any) -> None:
    """Take everything, say nothing."""
    await accept(receive, send)
    while (await receive())["type"] == "websocket.receive":
        pass


async def scope_socket(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    await send({"type": "websocket.send", "text": shown(scope)})
    await receive()


# Requests.


async def respond(send: Any, body: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body.encode()})


async def state(scope: Any, receive: Any, send: Any) -> None:
    sockets = sum(protocol.application_type == "websocket" for protocol in map(Kind, server.connections))
    resting = sum(protocol.rests_until is not None for protocol in server.connections)
    counts = {"sockets": sockets, "resting": resting, "connections": len(server.connections)}
    await respond(send, json.dumps({**taken, "most": most_work, "all": all_work, **counts}))


class Kind:
    def __init__(self, protocol: Any) -> None:
        self.application_type = getattr(protocol, "application_type", "http")


async def release(scope: Any, receive: Any, send: Any) -> None:
    released.set()
    await respond(send, "{}")


async def body(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await respond(send, json.dumps({"bytes": size}))


async def fail_http(scope: Any, receive: Any, send: Any, when: str) -> None:
    if when == "late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise RuntimeError("as the test wants it")


async def leave_http(scope: Any, receive: Any, send: Any) -> None:
    pass


async def hang_http(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def stream(scope: Any, receive: Any, send: Any, megabytes: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(megabytes) * 16):
        await send({"type": "http.response.body", "body": bytes(CHUNK), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def gush(scope: Any, receive: Any, send: Any, pieces: str) -> None:
    """Send a body as fast as the client takes it; its last word says how often others had their turn meanwhile."""

    async def sending() -> None:
        for _ in range(int(pieces)):
            await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})

    await send({"type": "http.response.start", "status": 200, "headers": []})
    turns = await count_turns(sending())
    await send({"type": "http.response.body", "body": b" %d" % turns})


async def now_http(scope: Any, receive: Any, send: Any, encoding: str = "") -> None:
    """Send a body by the server's extension until it refuses, then say how often it did not, at which moments."""
    send_now = scope["extensions"]["relay.send_now"]
    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    took = [send_now([b"too early"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    took.append(send_now([b"before the head is written"]))
    await send({"type": "http.response.body", "body": b"head", "more_body": True})
    count = 0
    while send_now([b"x" * CHUNK, b"y"]):
        count += 1
    await send({"type": "http.response.body", "body": f" {count} {took}".encode()})
    taken["last_error"] = f"sent after the end: {send_now([b'x'])}"


async def drip(scope: Any, receive: Any, send: Any) -> None:
    """One event, and the next one only when released."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    await released.wait()
    await send({"type": "http.response.body", "body": b"data: second\n\n"})


async def scope_http(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, shown(scope))


def shown(scope: Any) -> str:
    names = ("type", "client", "scheme", "root_path", "path")
    query = parse_qs(scope["query_string"].decode())
    headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    return json.dumps({**{name: scope.get(name) for name in names}, "query": query, "headers": headers})


SOCKETS = {
    "echo": echo,
    "now": now,
    "late": late,
    "close": close,
    "refuse": refuse,
    "fail": fail,
    "leave": leave,
    "hang": hang,
    "subprotocol": subprotocol,
    "headers": headers,
    "nothing": nothing,
    "flood": flood,
    "flood-later": flood_later,
    "stuck": stuck,
    "burst": burst,
    "busy": busy,
    "take": take,
    "scope": scope_socket,
}
REQUESTS = {
    "state": state,
    "release": release,
    "body": body,
    "fail": fail_http,
    "leave": leave_http,
    "hang": hang_http,
    "stream": stream,
    "gush": gush,
    "now": now_http,
    "drip": drip,
    "scope": scope_http,
    "health": leave_http,
}


# Ends.


async def nothing() -> None:
    """As a server whose end needs nothing."""


async def cancelled() -> None:
    """Fail as an ``await`` of a task that another one has cancelled."""
    raise asyncio.CancelledError


async def stand_still() -> None:
    """Neither end, nor be cancelled."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def leave_thread() -> None:
    """Start a thread that does not end, which Python waits for as the process ends."""
    threading.Thread(target=threading.Event().wait).start()


ENDS = {end.__name__: end for end in (nothing, cancelled, stand_still, leave_thread)}


class EndingServer(HardenedServer):
    """A server that does at its end whatever the options say."""

    drain_end = stop_end = staticmethod(nothing)

    async def on_drain(self, deadline: asyncio.Event) -> None:
        await self.drain_end()

    async def on_stop(self) -> None:
        await self.stop_end()


def main() -> int:
    global server
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--proxies", type=proxies().read, default=0)
    parser.add_argument("--drain", choices=ENDS, default="nothing")
    parser.add_argument("--stop", choices=ENDS, default="nothing")
    parser.add_argument("limits", nargs="*")
    arguments = parser.parse_args()
    for limit in arguments.limits:
        name, value = limit.split("=")
        assert hasattr(limits, name)
        setattr(limits, name, float(value))
    WebSocketConnection.onFrameBegin = counted("frames", WebSocketConnection.onFrameBegin)
    decoder = _ChunkedTransferDecoder
    decoder._dataReceived_CHUNK_LENGTH = counted("chunks", decoder._dataReceived_CHUNK_LENGTH)
    HttpRequest.process = counted("requests", HttpRequest.process)
    endpoint = f"tcp:port={arguments.port}:interface=127.0.0.1"
    server = EndingServer(application=application, endpoints=[endpoint])
    server.drain_end, server.stop_end = ENDS[arguments.drain], ENDS[arguments.stop]
    server.trusted_proxies = arguments.proxies
    if any(limit.startswith("MAX_MESSAGES=") for limit in arguments.limits):
        server.max_messages = int(limits.MAX_MESSAGES)
    server.run()
    return server.exit_code


if __name__ == "__main__":
    raise SystemExit(main())

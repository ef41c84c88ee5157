"""Front ends' protocols over HTTP, compared with the gateway's own event stream of the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.load_agent import order
from benchmarks.load_client import Tally, until
from benchmarks.load_http import Reader, Request, send
from benchmarks.loads import LAST_TOKENS_SECONDS, RATE, SPARE_SECONDS, count_lost
from benchmarks.rig import INTERNAL_KEY, Figures, Rig
from benchmarks.scale import Scale

Ask = Callable[[str, str], Request]  # of a session, with a message


async def adapters(rig: Rig, scale: Scale) -> Figures:
    """The paced load over HTTP: the gateway's own events (SSE), then the same answers in front ends' protocols."""
    events = await _streams(rig, scale, _events, has_own_stream=True)
    figures = {"sse_us_per_frame": events["cpu_us_per_frame"], "lost": events["lost"]}
    for name, request in (("openai", _openai), ("ai_sdk", _ai_sdk), ("ag_ui", _ag_ui)):
        measured = await _streams(rig, scale, request)
        figures[f"{name}_ratio"] = measured["cpu_us_per_frame"] / events["cpu_us_per_frame"]
        figures["lost"] += measured["lost"]
    return {**figures, "disturbed": events["disturbed"]}


def _events(session: str, message: str) -> Request:
    return Request("GET", f"/api/v1/sessions/{session}/events", final=b'"is_final":true')


def _openai(session: str, message: str) -> Request:
    body: dict[str, object] = {"model": "agent", "stream": True, "messages": [{"role": "user", "content": message}]}
    return Request("POST", "/v1/chat/completions", body, headers=(f"X-Session-Id: {session}",))


def _ai_sdk(session: str, message: str) -> Request:
    said = {"id": f"m-{session}", "role": "user", "parts": [{"type": "text", "text": message}]}
    return Request("POST", "/api/v1/ai-sdk/chat", {"id": session, "messages": [said], "trigger": "submit-message"})


def _ag_ui(session: str, message: str) -> Request:
    said = {"id": f"m-{session}", "role": "user", "content": message}
    empty: dict[str, object] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return Request("POST", "/api/v1/ag-ui", {"threadId": session, "runId": f"r-{session}", "messages": [said], **empty})


async def _streams(rig: Rig, scale: Scale, request: Ask, *, has_own_stream: bool = False) -> Figures:
    """Read an answer of each session, and measure in the middle of them."""
    names = rig.new_sessions(scale.sessions)
    tokens = round(RATE * (scale.begin_seconds + scale.warm_seconds + scale.seconds + SPARE_SECONDS))
    message = order(tokens, RATE)
    readers: list[Reader] = []
    for name in names:
        readers.append(await send(rig.tally, rig.port, request(name, message), INTERNAL_KEY))
        if has_own_stream:
            path = f"/api/v1/sessions/{name}/messages"
            asked = await send(Tally(), rig.port, Request("POST", path, {"content": message}), INTERNAL_KEY)
            readers[-1].errors += asked.errors
            asked.transport.close()
        await asyncio.sleep(scale.begin_seconds / scale.sessions)
    await asyncio.sleep(scale.warm_seconds)
    async with rig.window() as windows:
        await asyncio.sleep(scale.seconds)
        await until(lambda: bool(rig.tally.latencies_ns), LAST_TOKENS_SECONDS)
    await until(lambda: all(reader.finals or reader.is_closed for reader in readers), LAST_TOKENS_SECONDS)
    refused = next((reader.reply.decode(errors="replace") for reader in readers if reader.errors), None)
    if refused is not None:
        raise RuntimeError(f"the gateway refused a request: {refused}")
    for reader in readers:
        reader.transport.close()
    return {**windows[0].figures(), "lost": count_lost(readers, tokens)}

"""Real agents, each in a process of its own, and a gateway before each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests import processes
from tests.agents import kinds
from tests.clients import V1, SocketClient

SAID_BY_AGENT = ("assistant_message", "reasoning", "tool_call", "tool_result", "error")
LOG_FIELDS = ("turn_id", "offset")  # the gateway's own, in gateway.v1

Frame = dict[str, Any]
StartAgent = Callable[[kinds.Kind], processes.Process]


class Service(NamedTuple):
    """A gateway before an agent."""

    kind: kinds.Kind
    agent: processes.Process
    gateway: processes.Process


class Conversation:
    """A session, on a socket of one dialect."""

    def __init__(self, socket: SocketClient, *, is_v1: bool) -> None:
        self.socket = socket
        self.is_v1 = is_v1

    async def ask(self, message: str) -> list[Frame]:
        """Say something, and give the agent's frames up to the end, without the log's fields."""
        await self.socket.say(message)
        return [_bare(frame) for frame in await self.socket.turn() if _is_said(frame)]

    async def answer(self, call_id: str, result: Any) -> list[Frame]:
        """Answer the agent's question, and give its frames as ``ask`` does."""
        await self.socket.send({"type": "tool_result", "call_id": call_id, "result": result})
        return [_bare(frame) for frame in await self.socket.turn() if _is_said(frame)]

    def final(self, reason: str) -> Frame:
        """The frame that ends an answer."""
        frame = {"type": "assistant_message", "token": "", "is_final": True}
        return {**frame, "finish_reason": reason} if self.is_v1 else frame


def _is_said(frame: Frame) -> bool:
    is_empty = frame["type"] == "assistant_message" and not frame["token"] and not frame["is_final"]
    return frame["type"] in SAID_BY_AGENT and not is_empty


def _bare(frame: Frame) -> Frame:
    return {name: value for name, value in frame.items() if name not in LOG_FIELDS}


@pytest.fixture(scope="package")
def start_agent() -> Iterator[StartAgent]:
    """Start an agent's program, unless it runs; all are stopped at the end."""
    started: dict[str, processes.Process] = {}
    with ExitStack() as stack:

        def start(kind: kinds.Kind) -> processes.Process:
            if kind.program not in started:
                started[kind.program] = stack.enter_context(kinds.process(kind))
            return started[kind.program]

        yield start


@pytest.fixture(scope="package")
def start_service(start_agent: StartAgent) -> Iterator[Callable[[kinds.Kind], Service]]:
    """Start a gateway before a kind of agent, unless it runs; all are stopped at the end."""
    started: list[Service] = []
    with ExitStack() as stack:

        def start(kind: kinds.Kind) -> Service:
            for service in started:
                if service.kind == kind:
                    return service
            agent = start_agent(kind)
            gateway = stack.enter_context(processes.gateway("serve", agent.http_url, **kind.settings))
            started.append(Service(kind, agent, gateway))
            return started[-1]

        yield start


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, start_service: Callable[[kinds.Kind], Service]) -> Service:
    """A gateway before the kind of agent that a test names."""
    return start_service(request.param)


@pytest.fixture(params=["plain", V1])
async def conversation(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[Conversation]:
    url = f"{service.gateway.ws_url}/ws/{uuid4().hex}/"
    is_v1 = request.param == V1
    async with SocketClient(url, [V1] if is_v1 else None) as socket:
        yield Conversation(socket, is_v1=is_v1)

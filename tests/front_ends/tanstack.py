"""TanStack AI's own client as a program, over both its transports."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tests import processes
from tests.front_ends.node import Change, Program

WHOLE = "".join(f"{number} " for number in range(8))
PATH = "/api/v1/ag-ui"


class Transport(NamedTuple):
    """The client's way to the gateway.

    Attributes:
        mark: how each event starts on the wire.
    """

    is_socket: bool
    mark: bytes

    def client(self, port: int, **options: object) -> Program:
        address = f"127.0.0.1:{port}{PATH}"
        way = (
            {"socket": f"ws://{address}/ws"}
            if self.is_socket
            else {"url": f"http://{address}", "headers": {"X-Internal-Auth": processes.KEY}}
        )
        return Program("tanstack", json.dumps({**way, **options}))


HTTP, SOCKET = Transport(False, b"data: {"), Transport(True, b'{"id":')


def answers(program: Program) -> list[str]:
    return texts(program.last("messages"), "assistant")


def texts(messages: list[dict[str, Any]], role: str) -> list[str]:
    """The texts of the messages of a role."""
    shown = [message for message in messages if message["role"] == role]
    return ["".join(part["content"] for part in message["parts"] if part["type"] == "text") for message in shown]


def has_delta(delta: str) -> Callable[[Change], bool]:
    return lambda change: change.get("chunk", {}).get("delta") == delta

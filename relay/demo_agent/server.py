"""The server of the demo agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server  # installs the asyncio reactor

from relay.demo_agent.app import DemoAgentApplication
from relay.demo_agent.config import DemoAgentConfig


class DemoAgentServer(Server):  # type: ignore[misc]  # daphne has no types
    """Daphne, with one line that says where it listens; ``failure`` says why it cannot."""

    failure = ""

    def __init__(self, config: DemoAgentConfig, host: str, port: int, *, say: Callable[[str], object]) -> None:
        endpoints = build_endpoint_description_strings(host=host, port=port)
        super().__init__(DemoAgentApplication(config), endpoints, server_name="", verbosity=0)
        self._say = say

    def listen_success(self, port: Any) -> None:  # Any: Twisted's port
        super().listen_success(port)
        address = port.getHost()
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._say(
            f"The demo agent (canned answers) listens on http://{host}:{address.port} - for trying and testing only."
        )

    def listen_error(self, failure: Any) -> None:  # Any: Twisted's failure
        self.failure = failure.getErrorMessage()
        self.stop()

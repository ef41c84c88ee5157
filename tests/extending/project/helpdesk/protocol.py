"""Speaks with an agent whose events are lines: a verb, and what it is about."""

from collections.abc import Iterator, Sequence
from typing import Any

from relay.agent.protocols import (
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    Event,
    EventReader,
    PastTurn,
    Turn,
)


class LineReader(EventReader):
    def read(self, event: Event) -> Iterator[str | dict[str, Any]]:
        verb, _, rest = event.data.partition(" ")
        match verb:
            case "say":
                yield rest
            case "use":
                yield {"type": "tool_call", "call_id": rest, "tool_name": rest, "arguments": {}}
            case "fail":
                yield {"type": "error", "content": rest}
            case "end":
                yield {"type": "done", "is_final": True, "finish_reason": rest or "stop"}
            case _:
                yield {}  # not understood


class LineProtocol(AgentProtocol):
    reader_class = LineReader

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        before = [past.message for past in history]
        body = {"talk": turn.session_id, "question": turn.message.get("content"), "before": before}
        return AgentRequest(settings.path or "/lines", body)

"""Agent protocols, one a file. ``GATEWAY__AGENT_PROTOCOL`` chooses one; its module is imported only then.

The names in ``__all__`` are for protocols of other projects.
"""

from __future__ import annotations

from typing import Final

from django.utils.module_loading import import_string

from relay.agent.protocols.base import AgentProtocol, AgentRequest, AgentSettings, PastTurn
from relay.agent.protocols.event_reader import EventReader
from relay.layers.values import Turn
from relay.protocol.event_stream import Event

__all__ = ["AgentProtocol", "AgentRequest", "AgentSettings", "Event", "EventReader", "PastTurn", "Turn"]

PROTOCOLS: Final = {
    "agent": "relay.agent.protocols.agent.OwnAgent",
    "openai": "relay.agent.protocols.openai.OpenAI",
    "agui": "relay.agent.protocols.agui.AgUi",
    "aisdk": "relay.agent.protocols.aisdk.AiSdk",
    "responses": "relay.agent.protocols.responses.Responses",
    "langgraph": "relay.agent.protocols.langgraph.LangGraph",
    "a2a": "relay.agent.protocols.a2a.A2A",
}


def load(name: str) -> AgentProtocol:
    """Return the protocol of a name or dotted path: an ``AgentProtocol``, or a subclass, of which one is made.

    Raises:
        ImportError: there is nothing at the dotted path.
        TypeError: the object there is no protocol.
    """
    found = import_string(PROTOCOLS.get(name, name))
    if isinstance(found, type) and issubclass(found, AgentProtocol):
        found = found()
    if not isinstance(found, AgentProtocol):
        raise TypeError(f"{name} is no relay.agent.protocols.AgentProtocol")
    return found

"""Chooses the agent by ``GATEWAY__AGENT_PROTOCOL``: one that is asked over HTTP, or a function in this process."""

from __future__ import annotations

from django.utils.module_loading import import_string

from relay.agent import protocols
from relay.agent.answer import Agent
from relay.agent.client import AgentClient
from relay.agent.function import is_answer_function
from relay.agent.handlers import load_handler


def make_agent(name: str) -> Agent:
    """Make the agent of a protocol's name, or of a dotted path: an answer function, or an ``AgentProtocol``.

    Raises:
        ImportError: there is nothing at the dotted path.
        TypeError: the object there is no agent, or takes no message and session.
    """
    if name not in protocols.PROTOCOLS and is_answer_function(import_string(name)):
        return load_handler(name)
    return AgentClient(protocols.load(name))

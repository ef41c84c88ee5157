"""Functions of a project that answer some kinds of message instead of the agent: ``GATEWAY__MESSAGE_HANDLERS``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from django.utils.module_loading import import_string

from relay.agent.answer import Agent, Answer, History, no_history
from relay.agent.function import CURSOR, FunctionAgent, is_answer_function
from relay.agent.passing import PathRequest
from relay.agent.transport import Exchange
from relay.layers.values import Turn
from relay.protocol.frames import Frame


def load_handler(dotted_path: str) -> FunctionAgent:
    """Make the agent of an answer function.

    Raises:
        ImportError: there is nothing at the dotted path.
        TypeError: the object there is no answer function, or takes no message and session.
    """
    function = import_string(dotted_path)
    if not is_answer_function(function):
        raise TypeError(f"{dotted_path} is no async generator function")
    signature = inspect.signature(function)
    signature.bind("message", "session", **({CURSOR: ""} if CURSOR in signature.parameters else {}))
    return FunctionAgent(function)


def with_handlers(agent: Agent, handlers: Mapping[str, str]) -> Agent:
    """Let handlers, given by their dotted paths, answer messages of their kinds; without any, return the agent."""
    if not handlers:
        return agent
    return HandledKinds(agent, {kind: load_handler(path) for kind, path in handlers.items()})


class HandledKinds(Agent):
    """An agent, and those that answer some kinds of message in its place."""

    def __init__(self, agent: Agent, handlers: Mapping[str, Agent]) -> None:
        self.is_here = agent.is_here
        self._agent = agent
        self._handlers = handlers

    def ask(self, turn: Turn, history: History = no_history) -> Answer:
        """See ``Agent``."""
        return self._of(turn).ask(turn, history)

    def go_on(self, turn: Turn, so_far: Sequence[Frame], *, is_whole: bool) -> Answer | None:
        """See ``Agent``."""
        return self._of(turn).go_on(turn, so_far, is_whole=is_whole)

    async def open_path(self, request: PathRequest) -> Exchange | None:
        """See ``Agent``."""
        return await self._agent.open_path(request)

    async def close(self) -> None:
        """See ``Agent``."""
        for agent in (self._agent, *self._handlers.values()):
            await agent.close()

    def _of(self, turn: Turn) -> Agent:
        return self._handlers.get(turn.message["type"], self._agent)

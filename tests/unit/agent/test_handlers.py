"""Kinds of message that functions answer in place of the agent."""

import pytest

from relay.agent.answer import Agent
from relay.agent.function import FunctionAgent
from relay.agent.handlers import HandledKinds, load_handler, with_handlers
from relay.layers.values import Turn


class Recorded(Agent):
    """Notes what it is asked."""

    def __init__(self):
        self.asked = []

    def ask(self, turn, history=None):
        self.asked.append(("ask", turn.message["type"]))

    def go_on(self, turn, so_far, *, is_whole):
        self.asked.append(("go on", turn.message["type"]))

    async def open_path(self, request):
        self.asked.append(("open", request))

    async def close(self):
        self.asked.append(("close", None))


async def answer(message, session):
    yield "answered"


async def answer_without_session(message):
    yield "answered"


def turn(kind):
    return Turn("s", "t", "l", {"type": kind})


async def test_a_kind_goes_to_its_handler_and_all_else_to_the_agent():
    agent, handler = Recorded(), Recorded()
    both = HandledKinds(agent, {"rate": handler})
    for kind in ("rate", "user_message"):
        both.ask(turn(kind))
        both.go_on(turn(kind), [], is_whole=True)
    await both.open_path("/files")
    await both.close()
    assert handler.asked == [("ask", "rate"), ("go on", "rate"), ("close", None)]
    expected = [("ask", "user_message"), ("go on", "user_message"), ("open", "/files"), ("close", None)]
    assert agent.asked == expected


def test_without_handlers_the_agent_stays_itself():
    agent = Recorded()
    assert with_handlers(agent, {}) is agent


@pytest.mark.parametrize("is_here", [True, False])
def test_the_agent_decides_whether_there_is_an_address(is_here):
    agent = Recorded()
    agent.is_here = is_here
    assert with_handlers(agent, {"rate": f"{__name__}.answer"}).is_here is is_here


def test_a_handler_is_an_answer_function():
    assert isinstance(load_handler(f"{__name__}.answer"), FunctionAgent)
    for name in ("turn", "Recorded", "answer_without_session"):
        with pytest.raises(TypeError):
            load_handler(f"{__name__}.{name}")

"""Answers of real agents, as the gateway's clients receive them: token by token, tool calls, errors, Stop, history."""

from __future__ import annotations

import time

import pytest

from tests.agents.conftest import Conversation, Frame, Service
from tests.agents.kinds import KINDS, START_SECONDS, STOPPED, TEST_MODELS, Kind
from tests.server.conftest import until

pytestmark = pytest.mark.timeout(START_SECONDS + 120)  # an agent may have to start

CALL = {"type": "tool_call", "call_id": "call-1", "tool_name": "look_up", "arguments": {"city": "Paris"}}


def before(*names: str, kinds: dict[str, Kind] = KINDS) -> pytest.MarkDecorator:
    """Run a test before some kinds of agent; by default before all."""
    chosen = [pytest.param(kinds[name], id=name) for name in names or kinds]
    return pytest.mark.parametrize("service", chosen, indirect=True)


def token(text: str) -> Frame:
    return {"type": "assistant_message", "token": text, "is_final": False}


@before()
async def test_text_comes_token_by_token(conversation: Conversation):
    assert await conversation.ask("text") == [token("One"), token(" two"), token(" three"), conversation.final("stop")]


@before("openai-agents", "pydantic-ai-agui", "pydantic-ai-aisdk", "langgraph")
async def test_tool_call_and_its_result_come_as_events_in_order(conversation: Conversation):
    call, result, *answer = await conversation.ask("tool")
    assert call == CALL
    assert result | {"tool_name": "look_up"} == {
        "type": "tool_result",
        "call_id": "call-1",
        "tool_name": "look_up",
        "result": "21 degrees",
    }
    assert answer == [token("It is 21 degrees."), conversation.final("stop")]


@before("pydantic-ai-aisdk", "langgraph")
async def test_tool_that_fails_ends_no_answer(conversation: Conversation):
    call, result, *_, end = await conversation.ask("broken tool")
    assert call["arguments"] == {"city": "Nowhere"}
    assert "no such city" in result["error"]
    assert end == conversation.final("stop")


@before("litellm", "litellm-responses")
async def test_used_tokens_are_told(conversation: Conversation):
    await conversation.socket.say("text")
    usage = await conversation.socket.frame_of("usage")
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"] > 0


@before("litellm", "litellm-responses")
async def test_tool_call_of_a_model_ends_its_answer(conversation: Conversation):
    """A model server calls no tools: it says which one to call."""
    assert await conversation.ask("tool") == [CALL, conversation.final("tool_calls")]


@before(kinds=TEST_MODELS)
async def test_model_of_pydantic_ai_itself(conversation: Conversation):
    call, result, *answer = await conversation.ask("Hello")
    assert (call["tool_name"], call["arguments"], result["result"]) == ("look_up", {"city": "a"}, "21 degrees")
    assert answer == [token('{"look_up":"21 '), token('degrees"}'), conversation.final("stop")]


@before("openai-agents", "pydantic-ai-agui", "pydantic-ai-aisdk", "langgraph")
async def test_reasoning_is_told_apart_from_the_answer(conversation: Conversation):
    thoughts = [{"type": "reasoning", "token": text} for text in ("Let", " me", " see.")]
    assert await conversation.ask("think") == [*thoughts, token("Done."), conversation.final("stop")]


@before()
async def test_error_in_mid_answer_ends_it_in_the_agents_words(conversation: Conversation):
    half, error = await conversation.ask("fail")
    assert half == token("Half")
    assert error["type"] == "error"
    assert "the model fell over" in error["content"]
    assert error.get("code", "upstream_error") == "upstream_error"


@before("pydantic-ai-agui", "langgraph", "a2a")
async def test_question_to_a_person_ends_the_answer(conversation: Conversation):
    *_, question, end = await conversation.ask("ask")
    assert question["type"] == "tool_call"
    assert question["requires_approval"] is True
    assert question["call_id"]
    assert question["arguments"]
    assert end == conversation.final("interrupt")


@before("langgraph", "a2a")
async def test_tool_result_answers_the_question(conversation: Conversation):
    *_, question, _ = await conversation.ask("ask")
    *text, end = await conversation.answer(question["call_id"], "text")
    assert "".join(frame.get("token", "") for frame in text) in ("So text.", "One two three")  # LangGraph's, A2A's
    assert end == conversation.final("stop")


@before()
async def test_second_message_reaches_an_agent_that_knows_the_first(conversation: Conversation):
    await conversation.ask("text")
    assert await conversation.ask("recall") == [token("text | recall"), conversation.final("stop")]


@before(kinds={name: kind.having(AGENT_SYSTEM_PROMPT="Be brief.") for name, kind in KINDS.items() if kind.is_told})
async def test_system_prompt_goes_before_the_history(conversation: Conversation):
    assert await conversation.ask("recall") == [token("Be brief. | recall"), conversation.final("stop")]


@before()
async def test_stop_is_heard_by_the_agent(conversation: Conversation, service: Service):
    """Tokens come while the answer goes on. Stop ends it in the agent as well; how soon is printed."""
    stopped_before = service.agent.output().count(STOPPED)
    await conversation.socket.say("endless")
    for _ in range(3):
        await conversation.socket.frame_of("assistant_message")
    stopped_at = time.monotonic()
    await conversation.socket.cancel()
    *_, end = await conversation.socket.turn()
    assert end["is_final"] is True
    assert end.get("finish_reason", "cancelled") == "cancelled"
    await until(lambda: service.agent.output().count(STOPPED) > stopped_before)
    print(f"heard after {1_000 * (time.monotonic() - stopped_at):.0f} ms")
    assert (await conversation.ask("text"))[-1] == conversation.final("stop")

"""An agent of OpenAI's Agents SDK behind ``relay_agent``, in the gateway's own protocol. It keeps its conversations."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from agents import Agent, Model, Runner, SQLiteSession, function_tool, set_tracing_disabled
from model import TOOL, Arguments, Thought, answer, weather
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

sys.path.append(str(Path(__file__).parents[3] / "sdk/python/src"))

import relay_agent

set_tracing_disabled(True)
memories: dict[str, SQLiteSession] = {}
validate = TypeAdapter(ResponseStreamEvent).validate_python


class FakeModel(Model):
    """Speaks in the events of OpenAI's Responses API, as each model of this SDK does."""

    async def get_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def stream_response(self, instructions: str | None, items: Any, *_: Any, **__: Any) -> AsyncIterator:
        said = [item["content"] for item in items if item.get("role") == "user"]
        text, arguments = "", ""
        async for piece in answer(said, items[-1].get("output")):
            match piece:
                case Thought(thought):
                    yield event("reasoning_summary_text.delta", delta=thought)
                case Arguments(more, _):
                    arguments += more
                case _:
                    text += piece
                    yield event("output_text.delta", delta=piece)
        content = [{"type": "output_text", "text": text, "annotations": []}]
        item = {"id": "item", "type": "message", "role": "assistant", "status": "completed", "content": content}
        if arguments:
            item = {"type": "function_call", "name": TOOL, "call_id": "call-1", "arguments": arguments}
            yield event("output_item.done", item=item)
        settings = {"parallel_tool_calls": False, "tool_choice": "auto", "tools": []}
        response = {"id": "r", "created_at": 0, "model": "test", "object": "response", "output": [item], **settings}
        yield event("completed", response=response)


def event(kind: str, **fields: Any) -> ResponseStreamEvent:
    place = {"item_id": "item", "output_index": 0, "content_index": 0, "summary_index": 0, "sequence_number": 0}
    return validate({"type": f"response.{kind}", "logprobs": [], **place, **fields})


@function_tool
def look_up(city: str) -> str:
    """Tell the weather."""
    return weather(city)


agent = Agent(name="test", model=FakeModel(), tools=[look_up])


@relay_agent.agent(os.environ["AGENT_KEY"])
async def app(message: dict[str, Any], session: relay_agent.Session) -> AsyncIterator[str | dict[str, Any]]:
    memory = memories.setdefault(session.session_id, SQLiteSession(session.session_id))
    try:
        async for event in Runner.run_streamed(agent, message["content"], session=memory).stream_events():
            part = getattr(event, "data", None) or getattr(event, "item", event)
            match part.type:
                case "response.output_text.delta":
                    yield part.delta
                case "response.reasoning_summary_text.delta":
                    yield {"type": "reasoning", "token": part.delta}
                case "tool_call_item":
                    call = part.raw_item
                    arguments = json.loads(call.arguments)
                    yield {"type": "tool_call", "call_id": call.call_id, "tool_name": call.name, "arguments": arguments}
                case "tool_call_output_item":
                    yield {"type": "tool_result", "call_id": part.raw_item["call_id"], "result": part.output}
    except RuntimeError as error:
        raise relay_agent.AgentError(str(error)) from error


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

"""An agent of OpenAI's Agents SDK, served in the gateway's own protocol; it keeps its conversations itself."""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from agents import Agent, Model, Runner, SQLiteSession, function_tool, set_tracing_disabled
from model import TOOL, Arguments, Thought, answer, weather
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

set_tracing_disabled(True)
sessions: dict[str, SQLiteSession] = {}
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


async def run(message: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    session = sessions.setdefault(message["session_id"], SQLiteSession(message["session_id"]))
    result = Runner.run_streamed(agent, message["content"], session=session)
    try:
        async for event in result.stream_events():
            part = getattr(event, "data", None) or getattr(event, "item", event)
            match part.type:
                case "response.output_text.delta":
                    yield {"type": "assistant_message", "token": part.delta}
                case "response.reasoning_summary_text.delta":
                    yield {"type": "reasoning", "token": part.delta}
                case "tool_call_item":
                    call = part.raw_item
                    arguments = json.loads(call.arguments)
                    yield {"type": "tool_call", "call_id": call.call_id, "tool_name": call.name, "arguments": arguments}
                case "tool_call_output_item":
                    yield {"type": "tool_result", "call_id": part.raw_item["call_id"], "result": part.output}
        yield {"type": "assistant_message", "token": "", "is_final": True}
    except Exception as error:
        yield {"type": "error", "error": str(error), "is_final": True}
    finally:
        result.cancel()


async def endpoint(request: Request) -> StreamingResponse:
    events = run(await request.json())
    body = (f"data: {json.dumps(event)}\n\n" async for event in events)
    return StreamingResponse(body, media_type="text/event-stream")


app = Starlette(routes=[Route("/agent/message/stream", endpoint, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

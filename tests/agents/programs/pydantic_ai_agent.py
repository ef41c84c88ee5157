"""A pydantic-ai agent behind its AG-UI and its Vercel AI adapter; with its own TestModel under ``/test``."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from model import TOOL, Arguments, Thought, answer, weather
from pydantic_ai import Agent, DeferredToolRequests, ModelRetry
from pydantic_ai.messages import ModelMessage, SystemPromptPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.ui import UIAdapter
from pydantic_ai.ui.ag_ui import AGUIAdapter
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator:
    parts = [part for message in messages for part in message.parts]
    said = [str(part.content) for part in parts if isinstance(part, SystemPromptPart | UserPromptPart)]
    last = parts[-1]
    if said[-1] == "ask" and not isinstance(last, ToolReturnPart):
        yield {0: DeltaToolCall(name="pay", json_args='{"euros": 5}', tool_call_id="call-1")}
        return
    async for piece in answer(said, str(last.content) if isinstance(last, ToolReturnPart) else None):
        match piece:
            case Thought(text):
                yield {0: DeltaThinkingPart(content=text)}
            case Arguments(text, is_first=True):
                yield {1: DeltaToolCall(name=TOOL, json_args=text, tool_call_id="call-1")}
            case Arguments(text):
                yield {1: DeltaToolCall(json_args=text)}
            case _:
                yield piece


agent = Agent(FunctionModel(stream_function=stream), output_type=[str, DeferredToolRequests])


@agent.tool_plain
def look_up(city: str) -> str:
    try:
        return weather(city)
    except LookupError as error:
        raise ModelRetry(str(error)) from error


@agent.tool_plain(requires_approval=True)
def pay(euros: int) -> str:
    return f"{euros} euros are paid"


def route(path: str, adapter: type[UIAdapter], model: Model | None = None, **options: Any) -> Route:
    async def endpoint(request: Request) -> Response:
        # By default it leaves a client's system prompt out, for the agent's own.
        options["manage_system_prompt"] = "client"
        return await adapter.dispatch_request(request, agent=agent, model=model, **options)

    return Route(path, endpoint, methods=["POST"])


test_model = TestModel(call_tools=[TOOL])
app = Starlette(
    routes=[
        route("/agui", AGUIAdapter),
        route("/agui/test", AGUIAdapter, test_model),
        route("/aisdk", VercelAIAdapter, sdk_version=6),  # from which on it asks for approvals
        route("/aisdk/test", VercelAIAdapter, test_model),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

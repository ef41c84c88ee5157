"""A LangGraph graph behind LangGraph's own server: a model, a tool, and a question to a person."""

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

sys.path.append(str(Path(__file__).parent))  # the server imports this file by its path

from model import TOOL, Arguments, Thought, answer, weather


class Model(BaseChatModel):
    _llm_type = "test"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator:
        said = [message.content for message in messages if message.type == "human"]
        last = messages[-1]
        async for piece in answer(said, last.content if isinstance(last, ToolMessage) else None):
            match piece:
                case Thought(text):
                    chunk = AIMessageChunk([{"type": "thinking", "thinking": text, "index": 0}])
                case Arguments(text, is_first=True):
                    call = tool_call_chunk(name=TOOL, id="call-1", args=text, index=0)
                    chunk = AIMessageChunk("", tool_call_chunks=[call])
                case Arguments(text):
                    chunk = AIMessageChunk("", tool_call_chunks=[tool_call_chunk(args=text, index=0)])
                case _:
                    chunk = AIMessageChunk([{"type": "text", "text": piece}] if said[-1] == "think" else piece)
            yield ChatGenerationChunk(message=chunk)


@tool
def look_up(city: str) -> str:
    """Tell the weather."""
    return weather(city)


async def talk(state: MessagesState) -> dict[str, Any]:
    if state["messages"][-1].content == "ask":
        city = interrupt({"question": "Which city?"})
        return {"messages": [AIMessage(f"So {city}.")]}
    return {"messages": [await Model().ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("talk", talk)
builder.add_node("tools", ToolNode([look_up], handle_tool_errors=True))
builder.add_edge(START, "talk")
builder.add_conditional_edges("talk", tools_condition)
builder.add_edge("tools", "talk")
graph = builder.compile()

if __name__ == "__main__":
    from langgraph_api.cli import run_server

    # The in-memory server needs no licence; unless told not to, it asks PyPI for newer versions of itself.
    os.environ.update(LANGGRAPH_NO_VERSION_CHECK="true", LANGSMITH_TRACING="false")
    with tempfile.TemporaryDirectory() as folder:  # it makes one of its own where it is started
        os.chdir(folder)
        graphs = {"agent": f"{Path(__file__)}:graph"}
        run_server(port=int(sys.argv[1]), graphs=graphs, disable_persistence=True, n_jobs_per_worker=4)

"""A model behind LiteLLM's proxy, which speaks as OpenAI does; ``LITELLM_MASTER_KEY`` is the key it asks for."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or the import asks GitHub for prices

from litellm import CustomLLM
from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices
from model import TOOL, Arguments, Thought, answer

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


class Model(CustomLLM):
    async def astreaming(self, messages: list[dict[str, Any]], **_: Any) -> AsyncIterator[ModelResponseStream]:
        reason = "stop"
        said = [message["content"] for message in messages if message["role"] in ("system", "user")]
        async for piece in answer(said):
            match piece:
                case Thought(text):
                    yield chunk(reasoning_content=text)
                case Arguments(text, is_first=True):
                    reason = "tool_calls"
                    yield call(id="call-1", function={"name": TOOL, "arguments": text})
                case Arguments(text):
                    yield call(function={"arguments": text})
                case _:
                    yield chunk(content=piece)
        end = StreamingChoices(delta=Delta(), finish_reason=reason)
        yield ModelResponseStream(model="test", choices=[end], usage=USAGE)


def chunk(**delta: Any) -> ModelResponseStream:
    return ModelResponseStream(model="test", choices=[StreamingChoices(delta=Delta(**delta))])


def call(**fields: Any) -> ModelResponseStream:
    return chunk(tool_calls=[{"type": "function", "index": 0, **fields}])


model = Model()

if __name__ == "__main__":
    os.environ["CONFIG_FILE_PATH"] = str(Path(__file__).with_name("litellm.yaml"))
    uvicorn.run("litellm.proxy.proxy_server:app", host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")

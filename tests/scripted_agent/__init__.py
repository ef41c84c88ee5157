"""A scripted agent-runtime: a real HTTP/1.1 server that can do everything an agent should not.

In a test::

    async with ScriptedAgent() as agent:
        agent.script = [Token("a "), Stall()]
        ...                                  # a gateway with agent.url
        await agent.wait_disconnected(1)

As its own process, ``python -m tests.scripted_agent --port 8001``; the message's content is the script then (see
``scripts.py``). ``GET /requests`` tells what it was asked, and how many clients left within an answer;
``GET /open/<gate>`` lets answers go on that wait at a gate.
"""

from tests.scripted_agent.server import PATH, Request, ScriptedAgent
from tests.scripted_agent.steps import (
    BadChunk,
    Break,
    CloseWhenReused,
    ContentType,
    Drop,
    EndlessHeaders,
    Event,
    Final,
    Head,
    Raw,
    Reset,
    Send,
    SplitBytes,
    Stall,
    Status,
    Step,
    Token,
    Wait,
    event_bytes,
    final_value,
    token_value,
)

__all__ = [
    "PATH",
    "BadChunk",
    "Break",
    "CloseWhenReused",
    "ContentType",
    "Drop",
    "EndlessHeaders",
    "Event",
    "Final",
    "Head",
    "Raw",
    "Request",
    "Reset",
    "ScriptedAgent",
    "Send",
    "SplitBytes",
    "Stall",
    "Status",
    "Step",
    "Token",
    "Wait",
    "event_bytes",
    "final_value",
    "token_value",
]

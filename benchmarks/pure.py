"""The pure parts of a token's and a message's way, each a fixed number of times, to be counted in instructions.

``benchmarks.instructions`` runs this module under callgrind, which writes what it has counted at each call of
``getppid``: before and after each part. Nothing here depends on time, on the network, or on chance.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable

from relay.adapters.ag_ui import AgUiTranslator
from relay.adapters.ai_sdk import AiSdkTranslator
from relay.adapters.base import Translator
from relay.adapters.openai import OpenAITranslator
from relay.agent.http_body import ChunkedBody
from relay.agent.protocols.agent import OwnAgent
from relay.layers.values import Turn
from relay.protocol import frames
from relay.protocol.client_messages import parse_client_message
from relay.protocol.event_stream import EventStreamDecoder

TIMES = 300
TURN = Turn(session_id="s", turn_id="0123456789abcdef", lease_id="l", message={"type": "user_message"})
DATA = [f'{{"type":"assistant_message","token":"word {n:03} ","is_final":false}}' for n in range(TIMES)]
EVENTS = [f"data: {data}\n\n".encode() for data in DATA]
CHUNKS = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS]
KEPT_EVENTS = [b"id: %d\n%b" % (number, event) for number, event in enumerate(EVENTS, 1)]
KEPT_CHUNKS = [b"%x\r\n%b\r\n" % (len(event), event) for event in KEPT_EVENTS]
MESSAGE = '{"type":"user_message","content":"What is the capital of France?","client_message_id":"m-1"}'

Part = Callable[[], None]


def json_only() -> None:
    """The yardstick: what an ordinary relay does with a token at least, JSON read and written by Python's library."""
    for data in DATA:
        json.dumps(json.loads(data))


def body() -> None:
    """The agent's body: its chunks."""
    reader = ChunkedBody()
    for chunk in CHUNKS:
        reader.feed(chunk)


def events() -> None:
    """The agent's events, as they are on the wire."""
    decoder = EventStreamDecoder(65_536)
    for event in EVENTS:
        decoder.feed(event)


def answer() -> None:
    """A token's whole way in: body, events, the agent's protocol, a frame."""
    reader, decoder = ChunkedBody(), EventStreamDecoder(65_536)
    answer_reader = OwnAgent().reader(TURN, max_turn_bytes=10_000_000, redact=str.strip)
    for chunk in CHUNKS:
        answer_reader.frames(decoder.feed(reader.feed(chunk)))


def kept_answer() -> None:
    """The same where the agent keeps its runs, so that each event has an id, and each token a position."""
    reader, decoder = ChunkedBody(), EventStreamDecoder(65_536)
    answer_reader = OwnAgent().reader(TURN, max_turn_bytes=10_000_000, redact=str.strip)
    answer_reader.may_resume = True
    answer_reader.opened({"x-agent-resume": "1"})
    for chunk in KEPT_CHUNKS:
        answer_reader.frames(decoder.feed(reader.feed(chunk)))
        _ = answer_reader.position


def texts() -> None:
    """A frame's text for a ``gateway.v1`` client."""
    for frame in FRAMES:
        _ = frame.v1


def messages() -> None:
    """A client's message."""
    for _ in range(TIMES):
        parse_client_message(MESSAGE, forward_types=frozenset(), max_message_bytes=65_536, resumable=True)


def ai_sdk() -> None:
    """A frame's events for the AI SDK."""
    _translate(AiSdkTranslator(TURN.turn_id))


def ag_ui() -> None:
    """A frame's events for AG-UI."""
    _translate(AgUiTranslator(TURN.turn_id, thread_id="s", run_id="r"))


def openai() -> None:
    """A frame's events for OpenAI's libraries."""
    _translate(OpenAITranslator(TURN.turn_id, created=1_700_000_000, model="agent"))


FRAMES = [frames.token(TURN.turn_id, f"word {number:03} ") for number in range(TIMES)]
PARTS: tuple[Part, ...] = (json_only, body, events, answer, kept_answer, texts, messages, ai_sdk, ag_ui, openai)


def _translate(translator: Translator) -> None:
    for frame in FRAMES:
        translator.events(frame)


def main() -> None:
    """Run each part twice: first to warm it, then to be counted."""
    gc.disable()
    for part in PARTS:
        part()
    for part in PARTS:
        os.getppid()
        part()
    os.getppid()


if __name__ == "__main__":
    main()

"""LangChain's messages, as LangGraph's servers send them: texts of pieces, tool calls and usage of whole messages.

Sources: the package ``langchain-core`` 1.x, and the blocks that its packages for models put into ``content``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from relay.agent.protocols import vocabulary
from relay.agent.protocols.any_json import error_words, text_of
from relay.agent.protocols.base import check_calls
from relay.protocol import json_text


def pieces(message: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Find a message's texts, with whether each is reasoning. Blocks of tool calls are left to ``Gathered``."""
    extra = message.get("additional_kwargs")
    reasoning = text_of(extra.get("reasoning_content")) if isinstance(extra, dict) else ""  # DeepSeek, Ollama
    if reasoning:
        yield True, reasoning
    content = message.get("content")
    for block in content if isinstance(content, list) else [content]:
        yield from _block_pieces({"type": "text", "text": block} if isinstance(block, str) else block)


def tool_result(message: dict[str, Any]) -> vocabulary.Fields:
    """Make the event of a tool's message; its ``content`` is a text or blocks."""
    call_id, name, content = text_of(message.get("tool_call_id")), text_of(message.get("name")), message.get("content")
    if message.get("status") != "error":
        return vocabulary.tool_result(call_id, content, name)
    words = "".join(text for _, text in pieces(message)) or error_words(content)
    return vocabulary.tool_error(call_id, words or "The tool failed.", name)


class Gathered:
    """A message's tool calls and usage, which come in pieces."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._newest: dict[int | None, _Call] = {}  # by index
        self._tokens: dict[str, int] = {}

    def add(self, message: dict[str, Any]) -> None:
        """Add those of a piece, or of a whole message. A piece's ``tool_calls`` are guesses at the whole ones."""
        calls = message.get("tool_calls" if message.get("type") == "ai" else "tool_call_chunks")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._add_call(call)
        usage = message.get("usage_metadata")
        if isinstance(usage, dict):
            self._add_usage(usage)

    def events(self, turn_id: str) -> Iterator[vocabulary.Fields]:
        """Make the events, once the message is whole."""
        for number, call in enumerate(self._calls):
            arguments = vocabulary.arguments("".join(call.pieces))
            yield vocabulary.tool_call(call.call_id or f"{turn_id}.{number}", call.name, arguments)
        usage = vocabulary.usage(**self._tokens)
        if usage is not None:
            yield usage

    def _add_call(self, piece: dict[str, Any]) -> None:
        call_id, arguments = text_of(piece.get("id")), piece.get("args")
        index = piece["index"] if type(piece.get("index")) is int else None
        call = self._newest.get(index)
        if call is None or (call_id and call.call_id not in ("", call_id)):  # without indices, an id starts a call
            check_calls(len(self._calls))
            call = self._newest[index] = _Call()
            self._calls.append(call)
        call.call_id = call.call_id or call_id
        call.name = call.name or text_of(piece.get("name"))
        if arguments is not None:
            call.pieces.append(arguments if isinstance(arguments, str) else json_text.encode(arguments))

    def _add_usage(self, usage: dict[str, Any]) -> None:
        """Add a piece's usage to that of the pieces before it, as LangChain does."""
        asked, answered = usage.get("input_token_details"), usage.get("output_token_details")
        counts = {
            **{name: usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens")},
            "cached_input_tokens": asked.get("cache_read") if isinstance(asked, dict) else None,
            "reasoning_tokens": answered.get("reasoning") if isinstance(answered, dict) else None,
        }
        for name, count in counts.items():
            if type(count) is int:
                self._tokens[name] = self._tokens.get(name, 0) + count


class _Call(msgspec.Struct):
    """A tool call of which the pieces of its arguments are gathered."""

    call_id: str = ""
    name: str = ""
    pieces: list[str] = []  # msgspec copies it


def _block_pieces(block: Any) -> Iterator[tuple[bool, str]]:
    if not isinstance(block, dict):
        return
    kind = block.get("type")
    if kind in ("text", "refusal"):
        text = text_of(block.get(kind))
        if text:
            yield False, text
    elif kind in ("thinking", "reasoning"):  # Anthropic, Google; LangChain's own, OpenAI
        summary = block.get("summary")
        for part in [block, *(summary if isinstance(summary, list) else [])]:
            found = [part.get(name) for name in ("thinking", "reasoning", "text")] if isinstance(part, dict) else []
            for text in filter(None, map(text_of, found)):
                yield True, text

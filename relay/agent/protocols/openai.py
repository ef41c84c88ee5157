"""Model servers that speak OpenAI's chat completions: vLLM, Ollama, LiteLLM, OpenRouter and the like. Pure.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming and the package ``openai``; where other servers
differ, a comment says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec

from relay.agent.protocols import vocabulary
from relay.agent.protocols.any_json import is_bare_error, json_value, text_of
from relay.agent.protocols.base import (
    TOOL_CALLS,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
    check_calls,
    said_before,
)
from relay.exceptions import RelayError
from relay.layers.values import Turn, message_text
from relay.protocol import json_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/v1/chat/completions"
DONE: Final = "[DONE]"

_REASONING_MEMBERS: Final = ("reasoning_content", "reasoning")  # DeepSeek, vLLM; OpenRouter, Ollama. Never both texts


# The shape of most chunks. A chunk with a member that must be ``None`` here goes to ``_look_closer``, as do others.


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    index: Literal[0] = 0
    finish_reason: None = None
    error: None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: tuple[_Choice]
    usage: None = None
    error: None = None


_chunk = msgspec.json.Decoder(_Chunk)


class OpenAIEvents(AnswerReader):
    """Reads one answer."""

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self._calls: list[_Call] = []
        self._newest: dict[int | None, _Call] = {}  # call by index, and of all under ``None``
        self._reason: str | None = None  # why the model stopped; the stream continues to its usage
        self._usage: dict[str, Any] | None = None  # the newest: some servers count up in every chunk

    def _read(self, event: Event, made: list[Frame]) -> None:
        try:
            chunk = _chunk.decode(event.data)
        except (ValueError, RecursionError):  # not that, or not quite
            self._look_closer(event, made)
            return
        if event.event:
            self._look_closer(event, made)
            return
        delta = chunk.choices[0].delta
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._add_event(vocabulary.reasoning(reasoning), made)
        if delta.content:
            self._add_text(delta.content, made)

    def _end(self, made: list[Frame]) -> None:
        """Finish without ``[DONE]``, which some servers omit."""
        if self._reason is not None:
            self._finish_with(self._reason, made)

    def refused(self, status: int, body: bytes) -> RelayError | None:
        """See ``AnswerReader``: OpenRouter may report an error with the status 200 and a JSON body."""
        value = json_value(body.decode("utf-8", "replace"))
        if status != HTTPStatus.OK or not isinstance(value, dict) or not is_bare_error(value):
            return None
        return self._error(value)

    def _look_closer(self, event: Event, made: list[Frame]) -> None:
        is_error = event.event == "error"
        if event.data.strip() == DONE and not is_error:
            default = TOOL_CALLS if self._calls else "stop"
            self._finish_with(default if self._reason is None else self._reason, made)
            return
        value = json_value(event.data)
        fields = value if isinstance(value, dict) else {}
        choices = fields.get("choices")
        is_chunk = isinstance(choices, list) or isinstance(fields.get("usage"), dict)
        is_error = is_error or bool(fields.get("error")) or fields.get("object") == "error"  # the last: vLLM
        if is_error or (not is_chunk and is_bare_error(fields)):
            self._fail(value, made)
        elif is_chunk:
            self._take_usage(fields.get("usage"))
            self._take_choices(choices if isinstance(choices, list) else [], made)
        else:
            self._pass_on(value, made)

    def _take_choices(self, choices: list[Any], made: list[Frame]) -> None:
        """Take the first choice of those that were asked for; a chunk may have others only, or none."""
        for choice in choices:
            if not isinstance(choice, dict):
                self._skip("malformed", made)
            elif not choice.get("index"):
                self._take_choice(choice, made)
                return

    def _take_choice(self, choice: dict[str, Any], made: list[Frame]) -> None:
        reason = choice.get("finish_reason")
        if choice.get("error") or reason == "error":  # OpenRouter
            self._fail(choice.get("error"), made)
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._take_delta(delta, made)
        elif delta is not None:
            self._skip("malformed", made)
        if isinstance(reason, str) and reason:
            self._reason = reason
            self._add_calls(made)

    def _take_delta(self, delta: dict[str, Any], made: list[Frame]) -> None:
        reasoning = next(filter(None, map(delta.get, _REASONING_MEMBERS)), None)
        if isinstance(reasoning, str):
            self._add_event(vocabulary.reasoning(reasoning), made)
        self._take_content(delta.get("content"), made)
        self._take_content(delta.get("refusal"), made)
        pieces = delta.get("tool_calls")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                self._gather(piece)
            else:
                self._skip("malformed", made)

    def _take_content(self, content: Any, made: list[Frame]) -> None:
        """Take a text, or a list of parts (Mistral): texts, the model's thinking, and references."""
        if isinstance(content, str):
            if content:
                self._add_text(content, made)
        elif isinstance(content, list):
            for part in content:
                self._take_part(part if isinstance(part, dict) else {}, made)
        elif content is not None:
            self._skip("malformed", made)

    def _take_part(self, part: dict[str, Any], made: list[Frame]) -> None:
        if part.get("type") == "text":
            self._take_content(text_of(part.get("text")), made)
        elif part.get("type") == "thinking":
            thinking = part.get("thinking")
            pieces = thinking if isinstance(thinking, list) else []
            texts = [text_of(piece.get("text")) for piece in pieces if isinstance(piece, dict)]
            if any(texts):
                self._add_event(vocabulary.reasoning("".join(texts)), made)

    def _gather(self, piece: dict[str, Any]) -> None:
        """Add a piece of a tool call to the call that it belongs to."""
        function = piece.get("function") or piece.get("custom")
        function = function if isinstance(function, dict) else {}
        call_id, name = text_of(piece.get("id")), text_of(function.get("name"))
        index = piece["index"] if type(piece.get("index")) is int else None
        call = self._newest.get(index)
        # Ollama gives every call the index 0, Gemini none: another id with a name of its own is another call.
        if call is None or (call_id and name and call.call_id not in ("", call_id)):
            check_calls(len(self._calls))
            call = _Call()
            self._calls.append(call)
        self._newest[index] = self._newest[None] = call
        call.call_id = call.call_id or call_id
        call.name = call.name or name
        arguments = function.get("arguments", function.get("input"))
        if arguments is not None:
            call.pieces.append(arguments if isinstance(arguments, str) else json_text.encode(arguments))

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            asked, answered = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
            self._usage = vocabulary.usage(
                input_tokens=usage.get("prompt_tokens"),
                output_tokens=usage.get("completion_tokens"),
                total_tokens=usage.get("total_tokens"),
                cached_input_tokens=asked.get("cached_tokens") if isinstance(asked, dict) else None,
                reasoning_tokens=answered.get("reasoning_tokens") if isinstance(answered, dict) else None,
            )

    def _add_calls(self, made: list[Frame]) -> None:
        for number, call in enumerate(self._calls, start=self._passed_on):
            call_id = call.call_id or f"{self._turn_id}.{number}"
            arguments = vocabulary.arguments("".join(call.pieces))
            self._add_event(vocabulary.tool_call(call_id, call.name, arguments), made)
        self._calls.clear()
        self._newest.clear()

    def _finish_with(self, reason: str, made: list[Frame]) -> None:
        self._add_calls(made)
        if self._usage is not None:
            self._add_event(self._usage, made)
        self._finish(reason, made)


class _Call(msgspec.Struct):
    """A tool call of which the pieces of its arguments are gathered."""

    call_id: str = ""
    name: str = ""
    pieces: list[str] = []  # msgspec copies it


class OpenAI(AgentProtocol):
    """A model server. It keeps no conversation, and has no tools of its own: their calls are for the client."""

    reader_class = OpenAIEvents

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        said = [*said_before(history, settings.system_prompt), ("user", message_text(turn.message))]
        body = {
            "messages": [{"role": role, "content": text} for role, text in said],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if settings.model:
            body["model"] = settings.model
        return AgentRequest(settings.path or PATH, body)

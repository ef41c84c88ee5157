"""Agents that speak OpenAI's Responses API: OpenAI, Azure, LiteLLM, vLLM and the like. Pure.

Source: https://platform.openai.com/docs/api-reference/responses-streaming and the package ``openai``. A response runs
in the background, so its server continues when the connection is closed: Stop is a request of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from relay.agent.protocols import vocabulary
from relay.agent.protocols.any_json import error_words, is_bare_error, json_value, text_of
from relay.agent.protocols.base import (
    INTERRUPT,
    TOOL_CALLS,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
    path_segment,
    said_before,
)
from relay.agent.protocols.run import Run, RunLost
from relay.layers.values import AgentPosition, Turn, message_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/v1/responses"

_TEXT: Final = ("response.output_text.delta", "response.refusal.delta")
_REASONING: Final = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_CALLS: Final = ("function_call", "custom_tool_call", "mcp_call")
_RESULTS: Final = ("function_call_output", "custom_tool_call_output")


class _TextDelta(msgspec.Struct):
    """The shape of most events. An event of any other shape goes to ``_look_closer``."""

    type: Literal["response.output_text.delta"]  # not a tag: a tag may be missing
    delta: str
    output_index: int = 0
    item_id: str = ""
    sequence_number: int = -1


_text_delta = msgspec.json.Decoder(_TextDelta)


class ResponseEvents(AnswerReader):
    """Reads one answer. Events that mean nothing here are signs of life: the API has dozens, and gets more."""

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self._response_id = ""
        self._sequence: Any = None  # of the last event
        self._output_index: Any = None  # of the message that the last text belonged to
        self._items: dict[Any, dict[str, Any]] = {}  # tool calls whose arguments come, by output index
        self._added: set[str] = set()  # tool calls and results: an item's end brings them, and the response's again
        self._reason = "stop"

    def stop_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        response = path_segment(self._response_id)
        return AgentRequest(f"{asked.path}/{response}/cancel", {}, headers=asked.headers) if response else None

    def rejoin_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        if self.run is None:
            return None
        behind = f"&starting_after={self.run.seen}" if self.run.seen else ""
        path = f"{asked.path}/{path_segment(self._response_id)}?stream=true{behind}"
        return AgentRequest(path, None, "GET", asked.headers)

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """See ``AnswerReader``."""
        self._response_id = position.run
        self._replay(Run(position.run), so_far)
        return is_whole and position.skip == len(so_far)

    def _cursor(self, event: Event) -> str:
        value = json_value(event.data)
        return _count(value.get("sequence_number") if isinstance(value, dict) else None)

    def _cursor_read(self, event: Event) -> str:
        return _count(self._sequence)

    def _read(self, event: Event, made: list[Frame]) -> None:
        try:
            delta = _text_delta.decode(event.data)
        except (ValueError, RecursionError):  # not that, or not quite
            self._look_closer(event, made)
            return
        if event.event == "error":
            self._look_closer(event, made)
            return
        self._sequence = delta.sequence_number
        self._take_text(delta.delta, delta.output_index, delta.item_id, made)

    def _look_closer(self, event: Event, made: list[Frame]) -> None:
        value = json_value(event.data)
        fields = value if isinstance(value, dict) else {}
        kind = fields.get("type")
        response = fields.get("response")
        self._sequence = fields.get("sequence_number")
        if event.event == "error" or kind == "error" or is_bare_error(fields):
            self._fail(value, made)
        elif value == "[DONE]":  # of LiteLLM; never the end by itself
            return
        elif not isinstance(kind, str):
            self._skip("malformed", made)
        elif isinstance(response, dict):
            self._take_response(kind, response, made)
        elif kind in _TEXT or kind in _REASONING:
            self._take_delta(fields, made)
        else:
            self._take_item_event(kind, fields, made)

    def _take_delta(self, fields: dict[str, Any], made: list[Frame]) -> None:
        delta = fields.get("delta")
        if not isinstance(delta, str):
            self._skip("malformed", made)
        elif fields["type"] in _REASONING:
            self._add_event(vocabulary.reasoning(delta), made)
        else:
            self._take_text(delta, fields.get("output_index"), fields.get("item_id"), made)

    def _take_text(self, text: str, output_index: Any, item_id: Any, made: list[Frame]) -> None:
        """Add a text. A message is known by its index: some proxies give each event another item id."""
        if output_index != self._output_index:
            if self._output_index is not None:
                self._add_event(vocabulary.message_start(text_of(item_id) or f"{self._turn_id}.{output_index}"), made)
            self._output_index = output_index
        self._reason = "stop"
        self._add_text(text, made)

    def _take_item_event(self, kind: str, fields: dict[str, Any], made: list[Frame]) -> None:
        item, index = fields.get("item"), fields.get("output_index")
        index = index if isinstance(index, int) else None
        if kind == "response.output_item.added" and isinstance(item, dict):
            self._items[index] = item
        elif kind == "response.output_item.done" and isinstance(item, dict):
            self._take_item(item, made)
        elif kind == "response.function_call_arguments.done" and index in self._items:
            self._take_item({**self._items.pop(index), "arguments": fields.get("arguments")}, made)

    def _take_response(self, kind: str, response: dict[str, Any], made: list[Frame]) -> None:
        """Handle an event about the whole response: its start, its end, or that it continues."""
        response_id = text_of(response.get("id"))
        if self.run is not None and response_id and response_id != self.run.name:
            raise RunLost
        self._response_id = response_id or self._response_id
        if self.may_resume and self.run is None and self._is_untouched and path_segment(response_id):
            self.run = Run(response_id)
        if kind == "response.failed":
            self._add_usage(response, made)
            self._fail(response.get("error"), made)
        elif kind in ("response.completed", "response.incomplete", "response.cancelled"):
            self._take_output(response, made)
            self._add_usage(response, made)
            self._finish(self._reason if kind == "response.completed" else _why(kind, response), made)

    def _take_output(self, response: dict[str, Any], made: list[Frame]) -> None:
        """Add a response's texts and calls that no event brought: servers may leave out deltas, or an item's end."""
        output = response.get("output")
        items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        had_text = self.tokens > 0
        for index, item in enumerate(items):
            self._take_item(item, made)
            if item.get("type") == "message" and not had_text:
                for text in _texts(item):
                    self._take_text(text, index, item.get("id"), made)

    def _take_item(self, item: dict[str, Any], made: list[Frame]) -> None:
        """Add a tool call, a tool's result, or a question to a person, once."""
        kind = item.get("type")
        call_id = text_of(item.get("call_id")) or text_of(item.get("id"))
        if kind in _RESULTS:
            self._add_once(f"{call_id} result", vocabulary.tool_result(call_id, item.get("output")), "stop", made)
        elif kind in _CALLS:
            self._add_once(call_id, _call(call_id, item), TOOL_CALLS, made)
            if kind == "mcp_call":  # the server made the call, too
                self._add_once(f"{call_id} result", _result(call_id, item), "stop", made)
        elif kind == "mcp_approval_request":
            asked = {"tool_name": item.get("name"), "arguments": vocabulary.arguments(text_of(item.get("arguments")))}
            self._add_once(call_id, vocabulary.interrupt(call_id, "approval", asked), INTERRUPT, made)

    def _add_once(self, name: str, fields: dict[str, Any], reason: str, made: list[Frame]) -> None:
        """Add an event, and remember why an answer that ends right behind it has ended."""
        if name not in self._added:
            self._added.add(name)
            self._reason = reason
            self._add_event(fields, made)

    def _add_usage(self, response: dict[str, Any], made: list[Frame]) -> None:
        usage = response.get("usage")
        if not isinstance(usage, dict):
            return
        asked, answered = usage.get("input_tokens_details"), usage.get("output_tokens_details")
        event = vocabulary.usage(
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            total_tokens=usage.get("total_tokens"),
            cached_input_tokens=asked.get("cached_tokens") if isinstance(asked, dict) else None,
            reasoning_tokens=answered.get("reasoning_tokens") if isinstance(answered, dict) else None,
        )
        if event is not None:
            self._add_event(event, made)


def _count(sequence: Any) -> str:
    return str(sequence) if isinstance(sequence, int) and sequence >= 0 else ""


def _call(call_id: str, item: dict[str, Any]) -> dict[str, Any]:
    arguments: Any = text_of(item.get("input"))  # a custom tool's is a text
    if item.get("type") != "custom_tool_call":
        arguments = vocabulary.arguments(text_of(item.get("arguments")))
    return vocabulary.tool_call(call_id, text_of(item.get("name")), arguments)


def _result(call_id: str, item: dict[str, Any]) -> dict[str, Any]:
    """Make the event of a result of a tool that the server ran."""
    name, error = text_of(item.get("name")), item.get("error")
    if error:
        return vocabulary.tool_error(call_id, error_words(error) or "The tool failed.", name)
    return vocabulary.tool_result(call_id, item.get("output"), name)


def _why(kind: str, response: dict[str, Any]) -> str:
    """Return why a response is not complete: ``max_output_tokens``, ``content_filter``, ``cancelled`` or the like."""
    details = response.get("incomplete_details")
    reason = text_of(details.get("reason")) if isinstance(details, dict) else ""
    return reason or kind.removeprefix("response.")


def _texts(item: dict[str, Any]) -> list[str]:
    """Return the texts of a message, a refusal's too."""
    content = item.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return [text for part in parts if (text := text_of(part.get("text")) or text_of(part.get("refusal")))]


class Responses(AgentProtocol):
    """A server of responses.

    The gateway keeps no id of a response between two turns: a response that the server forgot would end the
    conversation. So the server gets the last turns as messages, as a model server does.
    """

    reader_class = ResponseEvents

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        said = [*said_before(history, ""), ("user", message_text(turn.message))]
        body = {
            "input": [{"role": role, "content": text} for role, text in said],
            "stream": True,
            "background": True,
            "store": True,
        }
        if settings.model:
            body["model"] = settings.model
        if settings.system_prompt:
            body["instructions"] = settings.system_prompt
        return AgentRequest(settings.path or PATH, body)

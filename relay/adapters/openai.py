"""OpenAI's chat completions: the request, the chunks of a stream, and the answer in one piece. Pure.

Source: https://platform.openai.com/docs/api-reference/chat. An agent's tool calls are not given as ``tool_calls``: the
client would run them itself.
"""

from __future__ import annotations

from typing import Any, Final

from relay.adapters.base import Limits, Translator, last_message, user_message
from relay.protocol import json_text
from relay.protocol.client_messages import StartTurn

DONE: Final = "[DONE]"

_FINISH_REASONS: Final = frozenset(["stop", "length", "content_filter"])


def read_request(body: Any, message_id: str | None, limits: Limits) -> StartTurn:
    """Read the body of a request (any JSON). Its last message is the new one; those before it are not asked again.

    Raises:
        ParameterInvalid: there is no last message of the user's.
        ClientMessageTooLarge: its words are too long.
    """
    members = body if isinstance(body, dict) else {}
    last = last_message(members)
    beside = {name: value for name, value in members.items() if name in limits.message_fields}
    return user_message(last, last.get("content"), message_id, beside, limits)


class OpenAITranslator(Translator):
    """Writes the chunks of one turn.

    Args:
        created: when the answer started, in seconds since 1970.
        model: the name that the client asked for.
        has_usage: does the client want a last chunk with the usage?
    """

    def __init__(self, turn_id: str, *, created: int, model: str, has_usage: bool = False) -> None:
        super().__init__(turn_id)
        self.usage: dict[str, int] = {}
        self._model = model
        self._has_usage = has_usage
        head = {"id": f"chatcmpl-{turn_id}", "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = json_text.encode(head)[:-1]
        self._delta_head = f'{self._head},"choices":[{{"index":0,"delta":{{"content":"'
        self._reasoning_head = f'{self._head},"choices":[{{"index":0,"delta":{{"reasoning_content":"'

    def on_start(self) -> list[str]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def on_text(self, text: str) -> list[str]:
        return [f'{self._delta_head}{text}"}},"finish_reason":null}}]}}']

    def on_event(self, fields: dict[str, Any]) -> list[str]:
        if fields["type"] == "reasoning" and isinstance(fields.get("token"), str):
            text = json_text.encode_string(fields["token"])
            return [f'{self._reasoning_head}{text}"}},"finish_reason":null}}]}}']
        if fields["type"] == "usage":
            self._count(fields)
        return []

    def on_notice(self, fields: dict[str, Any]) -> list[str]:
        return []

    def on_final(self, finish_reason: str) -> list[str]:
        chunks = [self._chunk({}, _finish_reason(finish_reason))]
        if self._has_usage:
            chunks.append(f'{self._head},"choices":[],"usage":{json_text.encode(self.usage_fields())}}}')
        return [*chunks, DONE]

    def on_error(self, words: str, code: str) -> list[str]:
        return [json_text.encode(error_fields(words, "server_error", code))]

    def usage_fields(self) -> dict[str, int]:
        """Return the usage that the agent has told of, as OpenAI names it."""
        told, answered = self.usage.get("input_tokens", 0), self.usage.get("output_tokens", 0)
        return {"prompt_tokens": told, "completion_tokens": answered, "total_tokens": told + answered}

    def _count(self, fields: dict[str, Any]) -> None:
        for name in ("input_tokens", "output_tokens"):
            number = fields.get(name)
            if isinstance(number, int) and not isinstance(number, bool):
                self.usage[name] = self.usage.get(name, 0) + number

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return f'{self._head},"choices":{json_text.encode([choice])}}}'


class OpenAIAnswer(OpenAITranslator):
    """Gathers one turn for an answer in one piece.

    Attributes:
        error: the words and the code of a turn that failed.
    """

    def __init__(self, turn_id: str, *, created: int, model: str) -> None:
        super().__init__(turn_id, created=created, model=model)
        self.error: tuple[str, str] | None = None
        self._names = {"id": f"chatcmpl-{turn_id}", "object": "chat.completion", "created": created, "model": model}
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._finish_reason = "stop"

    def fields(self) -> dict[str, Any]:
        """Return the answer."""
        message: dict[str, Any] = {"role": "assistant", "content": _joined(self._texts), "refusal": None}
        if self._reasonings:
            message["reasoning_content"] = "".join(self._reasonings)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}
        return {**self._names, "choices": [choice], "usage": self.usage_fields()}

    def on_start(self) -> list[str]:
        return []

    def on_text(self, text: str) -> list[str]:
        self._texts.append(text)
        return []

    def on_event(self, fields: dict[str, Any]) -> list[str]:
        if fields["type"] == "reasoning" and isinstance(fields.get("token"), str):
            self._reasonings.append(fields["token"])
            return []
        return super().on_event(fields)

    def on_final(self, finish_reason: str) -> list[str]:
        self._finish_reason = _finish_reason(finish_reason)
        return []

    def on_error(self, words: str, code: str) -> list[str]:
        self.error = (words, code)
        return []


def _joined(texts: list[str]) -> str:
    """Read pieces of text as they stand between the quotes of a JSON string."""
    text: str = json_text.decode('"' + "".join(texts) + '"')
    return text


def _finish_reason(reason: str) -> str:
    return reason if reason in _FINISH_REASONS else "stop"


def error_fields(words: str, kind: str, code: str) -> dict[str, Any]:
    """Return the body of an error in OpenAI's shape; ``kind`` is one of OpenAI's, such as ``invalid_request_error``."""
    return {"error": {"message": words, "type": kind, "param": None, "code": code}}

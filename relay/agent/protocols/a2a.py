"""Agents that speak Agent2Agent (A2A) 1.0, by JSON-RPC and event streams. Pure.

Source: https://a2a-protocol.org/latest/specification and the package ``a2a-sdk`` 1.3. A task goes on when the
connection is closed: Stop is a request of its own. Servers of A2A 0.3 have other methods, and refuse these requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from relay.agent.protocols import vocabulary
from relay.agent.protocols.base import (
    INTERRUPT,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
    is_bare_error,
    json_value,
    text_of,
)
from relay.exceptions import RelayError
from relay.layers.values import Turn, message_text
from relay.protocol.answers import answers_of
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/"
HEADERS: Final = {"A2A-Version": "1.0"}  # without it a server takes the request for one of 0.3

_ENDS: Final = {"TASK_STATE_COMPLETED": "stop", "TASK_STATE_CANCELED": "cancelled"}
_FAILURES: Final = ("TASK_STATE_FAILED", "TASK_STATE_REJECTED")
_PAUSES: Final = {"TASK_STATE_INPUT_REQUIRED": "input_required", "TASK_STATE_AUTH_REQUIRED": "auth_required"}


class A2A(AgentProtocol):
    """An A2A server. A session is a context, in which the agent remembers; a turn is a message, and mostly a task."""

    keeps_history = True

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        message = {"messageId": turn.turn_id, "contextId": turn.session_id, "role": "ROLE_USER", **_said(turn)}
        return _call(settings.path or PATH, turn.turn_id, "SendStreamingMessage", {"message": message})

    def reader(self, turn: Turn, *, max_turn_bytes: int, redact: Callable[[str], str]) -> TaskEvents:
        """See ``AgentProtocol``."""
        reader = TaskEvents(turn.turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        reader.begins_with_past = bool(answers_of(turn.message))
        return reader


def _said(turn: Turn) -> dict[str, Any]:
    """Return a message's parts; an answer to a task that waits for it names the task, too. One message has one task."""
    answers = answers_of(turn.message)
    if answers:
        answer = answers[0]
        said = answer.fields if answer.decision else answer.value
        return {"taskId": answer.call_id, "parts": [{"text": said} if isinstance(said, str) else {"data": said}]}
    return {"parts": [{"text": message_text(turn.message)}]}


def _call(path: str, call_id: str, method: str, params: dict[str, Any]) -> AgentRequest:
    body = {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}
    return AgentRequest(path, body, headers=HEADERS)


class TaskEvents(AnswerReader):
    """Reads one answer: a message, or the updates of a task.

    Attributes:
        begins_with_past: does the turn go on with a task? Then the first event may be that task as it was (seen).
    """

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self.begins_with_past = False
        self._task_id = ""
        self._source: str | None = None  # the message or the artifact that the last text came from
        self._message_ids: set[str] = set()
        self._artifacts: dict[str, list[str]] = {}  # the texts of each so far

    def refused(self, status: int, body: bytes) -> RelayError | None:
        """See ``AnswerReader``: an error before the stream is a JSON-RPC response with the status 200."""
        value = json_value(body.decode("utf-8", "replace"))
        error = value.get("error") if isinstance(value, dict) else None
        if status != HTTPStatus.OK or not error:
            return None
        return self._error(error)

    def stop_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        if not self._task_id:
            return None
        return _call(asked.path, f"{self._turn_id}:stop", "CancelTask", {"id": self._task_id})

    def _read(self, event: Event, made: list[Frame]) -> None:
        value = json_value(event.data)
        fields = value if isinstance(value, dict) else {}
        result = fields.get("result")
        if event.event == "error" or fields.get("error"):
            self._fail(fields.get("error") or value, made)
        elif isinstance(result, dict):
            self._take_result(result, made)
        elif is_bare_error(fields):
            self._fail(fields, made)
        else:
            self._skip("malformed", made)

    def _take_result(self, result: dict[str, Any], made: list[Frame]) -> None:
        """Handle an event's result, which is one of four. Any other is a sign of life."""
        task, message = result.get("task"), result.get("message")
        status_update, artifact_update = result.get("statusUpdate"), result.get("artifactUpdate")
        if self.begins_with_past:
            self.begins_with_past = False
            if isinstance(task, dict) and _state(task.get("status")) not in (*_ENDS, *_FAILURES):
                self._note(task)
                return
        if isinstance(artifact_update, dict):
            self._take_artifact(artifact_update.get("artifact"), made, append=artifact_update.get("append") is True)
        elif isinstance(status_update, dict):
            self._task_id = text_of(status_update.get("taskId")) or self._task_id
            self._take_status(status_update.get("status"), made)
        elif isinstance(task, dict):
            self._take_task(task, made)
        elif isinstance(message, dict):  # the only event of an answer that is no task
            self._take_message(message, made)
            self._finish("stop", made)

    def _note(self, task: dict[str, Any]) -> None:
        """Remember the texts of a task that came before this turn."""
        self._task_id = text_of(task.get("id"))
        for artifact in _dicts(task.get("artifacts")):
            self._artifacts[text_of(artifact.get("artifactId"))] = [_text(artifact)]
        message = task["status"].get("message") if isinstance(task.get("status"), dict) else None
        if isinstance(message, dict):
            self._message_ids.add(text_of(message.get("messageId")))

    def _take_task(self, task: dict[str, Any], made: list[Frame]) -> None:
        """Handle a task as a whole. Its history is the conversation before this answer."""
        self._task_id = text_of(task.get("id")) or self._task_id
        for artifact in _dicts(task.get("artifacts")):
            self._take_artifact(artifact, made, append=False)
        self._take_status(task.get("status"), made)

    def _take_status(self, status: Any, made: list[Frame]) -> None:
        if not isinstance(status, dict):
            self._skip("malformed", made)
            return
        state = _state(status)
        message = status.get("message")
        message = message if isinstance(message, dict) else {}
        if state in _FAILURES:
            self._fail(_text(message), made)
        elif state in _PAUSES:
            asked = {"message": _text(message)} if message else {}
            self._add_event(vocabulary.interrupt(self._task_id or self._turn_id, _PAUSES[state], asked), made)
            self._finish(INTERRUPT, made)
        else:
            self._take_message(message, made)
            if state in _ENDS:
                self._finish(_ENDS[state], made)

    def _take_message(self, message: dict[str, Any], made: list[Frame]) -> None:
        """Add a message's parts, once: a task as a whole may bring it again."""
        message_id = text_of(message.get("messageId"))
        if message_id in self._message_ids or message.get("role") == "ROLE_USER":
            return
        if message_id:
            self._message_ids.add(message_id)
        for part in _dicts(message.get("parts")):
            self._take_part(part, message_id, made)

    def _take_artifact(self, artifact: Any, made: list[Frame], *, append: bool) -> None:
        """Add a piece of an artifact, or a whole one; of a known one only its new text."""
        if not isinstance(artifact, dict):
            self._skip("malformed", made)
            return
        artifact_id = text_of(artifact.get("artifactId"))
        parts = _dicts(artifact.get("parts"))
        if not append and artifact_id in self._artifacts:
            given, whole = "".join(self._artifacts[artifact_id]), _text(artifact)
            if whole.startswith(given):
                parts = [{"text": whole.removeprefix(given)}]
            else:  # another text instead
                self._artifacts[artifact_id].clear()
                self._source = ""
        texts = self._artifacts.setdefault(artifact_id, [])
        for part in parts:
            self._take_part(part, artifact_id, made)
            if text := text_of(part.get("text")):
                texts.append(text)

    def _take_part(self, part: dict[str, Any], source: str, made: list[Frame]) -> None:
        text = part.get("text")
        if not isinstance(text, str):
            self._pass_on({**part, "type": "data" if "data" in part else "file"}, made)
        elif text:
            if source != self._source and self._source is not None:
                self._add_event(vocabulary.message_start(source), made)
            self._source = source
            self._add_text(text, made)


def _state(status: Any) -> str:
    return text_of(status.get("state")) if isinstance(status, dict) else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(said: dict[str, Any]) -> str:
    """Return the texts of a message or an artifact as one."""
    return "".join(text_of(part.get("text")) for part in _dicts(said.get("parts")))

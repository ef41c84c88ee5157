"""Agents that speak Agent2Agent (A2A) 1.0, by JSON-RPC and event streams. Pure.

Source: https://a2a-protocol.org/latest/specification and the package ``a2a-sdk`` 1.3. A task continues when the
connection is closed: Stop is a request of its own. Servers of A2A 0.3 have other methods, and refuse these requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from relay.agent.protocols import vocabulary
from relay.agent.protocols.a2a_snapshot import frames_behind, rest_of
from relay.agent.protocols.any_json import is_bare_error, json_value, text_of
from relay.agent.protocols.base import (
    INTERRUPT,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
)
from relay.agent.protocols.run import RunLost, UncountedRun, is_run_name
from relay.exceptions import RelayError
from relay.layers.values import AgentPosition, Turn, message_text
from relay.protocol.answers import answers_of
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/"
HEADERS: Final = {"A2A-Version": "1.0"}  # without it a server takes the request for one of 0.3

Item = str | dict[str, Any]
"""A part of an artifact: a text, or a data or file part."""

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
        begins_with_past: does the turn continue with a task? Then the first event may be that task as it was (seen).
    """

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self.begins_with_past = False
        self._max_turn_bytes = max_turn_bytes
        self._task_id = ""
        self._source: str | None = None  # the message or the artifact that the last text came from
        self._message_ids: set[str] = set()
        self._artifacts: dict[str, list[Item]] = {}  # the parts of each that were said
        self._is_rejoined = False  # then the next event is the task as a whole
        self._is_behind_snapshot = False  # then events may come that the snapshot has already
        self._so_far: Sequence[Frame] | None = None  # made by another reader

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

    def rejoin_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        return self._about_task(asked, "SubscribeToTask")

    def result_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``: nothing can be subscribed to once a task has ended."""
        return self._about_task(asked, "GetTask")

    def _about_task(self, asked: AgentRequest, method: str) -> AgentRequest | None:
        if self.run is None:
            return None
        return _call(asked.path, f"{self._turn_id}:{method}", method, {"id": self._task_id})

    def rejoined(self) -> None:
        """See ``AnswerReader``. The next event is the whole answer, so its bytes are counted from the start."""
        super().rejoined()
        self._bytes_left = self._max_turn_bytes
        self._is_rejoined = True

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """See ``AnswerReader``. A snapshot has the texts of the task's earlier turns, too; they are not in this log."""
        self._task_id = position.run
        self.run = UncountedRun(position.run)
        self._so_far = so_far
        return is_whole and not self.begins_with_past

    def _read(self, event: Event, made: list[Frame]) -> None:
        value = json_value(event.data)
        fields = value if isinstance(value, dict) else {}
        result = fields.get("result")
        if self._is_rejoined:
            self._is_rejoined = False
            self._take_snapshot(result.get("task") or result if isinstance(result, dict) else None, made)
        elif event.event == "error" or fields.get("error"):
            self._fail(fields.get("error") or value, made)
        elif isinstance(result, dict):
            self._take_update(result, made)
        elif is_bare_error(fields):
            self._fail(fields, made)
        else:
            self._skip("malformed", made)

    def _take_update(self, result: dict[str, Any], made: list[Frame]) -> None:
        """Handle an event's result, unless only the task as a whole shows where it belongs."""
        if self.wants_whole:
            return
        if self._is_behind_snapshot and self._may_be_in_snapshot(result):
            self.wants_whole = True
            return
        self._take_result(result, made)

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
        if self.may_resume and self.run is None and is_run_name(self._task_id):
            self.run = UncountedRun(self._task_id)

    def _may_be_in_snapshot(self, result: dict[str, Any]) -> bool:
        """Does an event change what the snapshot has, perhaps the same way? Servers number none, and send some again.

        Behind one that the snapshot cannot have, all are new.
        """
        if isinstance(result.get("artifactUpdate"), dict):
            artifact = result["artifactUpdate"].get("artifact")
            name = text_of(artifact.get("artifactId")) if isinstance(artifact, dict) else ""
            self._is_behind_snapshot = name in self._artifacts or result["artifactUpdate"].get("append") is True
            return self._is_behind_snapshot
        if isinstance(result.get("statusUpdate"), dict):
            message = _message_of(result["statusUpdate"].get("status"))
            return _text(message) != "" and not text_of(message.get("messageId"))
        return isinstance(result.get("task"), dict)

    def _take_snapshot(self, task: Any, made: list[Frame]) -> None:
        """Handle the task as a whole, of which only what is new becomes frames.

        Raises:
            RunLost: it is another task, or the order of what is new is not known.
        """
        if not isinstance(task, dict) or task.get("id") != self._task_id:
            raise RunLost
        self._is_behind_snapshot, self.wants_whole = True, False
        if self._so_far is None:
            self._check_snapshot(task)
            self._take_task(task, made)
            return
        frames: list[Frame] = []
        self._take_task(task, frames)
        made += frames_behind(self._so_far, frames, self._turn_id)
        self._so_far = None

    def _check_snapshot(self, task: dict[str, Any]) -> None:
        """Refuse a task that does not begin with what was said, or in which several places have grown."""
        artifacts = {text_of(artifact.get("artifactId")): artifact for artifact in _dicts(task.get("artifacts"))}
        rests = {name: rest_of(self._artifacts.get(name, ()), _items(artifacts[name])) for name in artifacts}
        for name, said in self._artifacts.items():
            rest = rests.get(name, None if said else [])
            if rest is None or (rest and name != self._source):
                raise RunLost
        status = task.get("status")
        said_now = _message_of(status)
        is_at_work = _state(status) not in (*_ENDS, *_FAILURES, *_PAUSES)
        has_place = text_of(said_now.get("messageId")) != "" and not any(rests.values())
        if is_at_work and self._is_new(said_now) and not has_place:
            raise RunLost  # before or behind what is new in the artifacts? Or was it said before?
        for message in _dicts(task.get("history")):
            if self._is_new(message):
                raise RunLost  # it came and went meanwhile, and its place is not known

    def _is_new(self, message: dict[str, Any]) -> bool:
        """Does a message of the agent have a text that was not said?"""
        is_known = text_of(message.get("messageId")) in self._message_ids
        return message.get("role") != "ROLE_USER" and not is_known and _text(message) != ""

    def _note(self, task: dict[str, Any]) -> None:
        """Remember the texts of a task that came before this turn."""
        self._task_id = text_of(task.get("id"))
        for artifact in _dicts(task.get("artifacts")):
            self._artifacts[text_of(artifact.get("artifactId"))] = _items(artifact)
        messages = [_message_of(task.get("status")), *_dicts(task.get("history"))]
        self._message_ids.update(filter(None, (text_of(message.get("messageId")) for message in messages)))

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
        message = _message_of(status)
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
        """Add a piece of an artifact, or a whole one; of a known one only what is new."""
        if not isinstance(artifact, dict):
            self._skip("malformed", made)
            return
        artifact_id = text_of(artifact.get("artifactId"))
        said = self._artifacts.setdefault(artifact_id, [])
        items = _items(artifact)
        if not append and said:
            rest = _rest(said, items)
            if rest is None:  # another text instead
                said.clear()
                self._source = ""
            else:
                items = rest
        for item in items:
            self._take_part({"text": item} if isinstance(item, str) else item, artifact_id, made)
        said += items

    def _take_part(self, part: dict[str, Any], source: str, made: list[Frame]) -> None:
        text = part.get("text")
        if not isinstance(text, str):
            self._pass_on({**part, "type": "data" if "data" in part else "file"}, made)
        elif text:
            if source != self._source and self._source is not None:
                self._add_event(vocabulary.message_start(source), made)
            self._source = source
            self._add_text(text, made)


def _rest(said: list[Item], items: list[Item]) -> list[Item] | None:
    """Return what is new in an artifact that is sent again; ``None``: its text is another one. A server may leave out
    or move data and file parts.
    """
    rest = rest_of(said, items)
    return rest if rest is not None else rest_of(filter(_is_text, said), filter(_is_text, items))


def _is_text(item: Item) -> bool:
    return isinstance(item, str)


def _items(said: dict[str, Any]) -> list[Item]:
    """Return the parts of an artifact, texts as such."""
    return [part["text"] if isinstance(part.get("text"), str) else part for part in _dicts(said.get("parts"))]


def _message_of(status: Any) -> dict[str, Any]:
    message = status.get("message") if isinstance(status, dict) else None
    return message if isinstance(message, dict) else {}


def _state(status: Any) -> str:
    return text_of(status.get("state")) if isinstance(status, dict) else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(said: dict[str, Any]) -> str:
    """Return the texts of a message or an artifact as one."""
    return "".join(text_of(part.get("text")) for part in _dicts(said.get("parts")))

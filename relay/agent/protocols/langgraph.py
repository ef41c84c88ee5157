"""Graphs behind a LangGraph server (``langgraph dev``, LangGraph Platform): runs on a thread. Pure.

Source: the packages ``langgraph-api`` 0.16 and ``langgraph-sdk`` 0.4. The server keeps the thread, and a run continues
when the connection is closed: Stop is a request of its own.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from relay.agent.protocols import vocabulary
from relay.agent.protocols.any_json import json_value, text_of
from relay.agent.protocols.base import (
    INTERRUPT,
    TOOL_CALLS,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
    path_segment,
)
from relay.agent.protocols.langchain import Gathered, pieces, tool_result
from relay.agent.protocols.run import SharedRun, is_run_name
from relay.layers.values import AgentPosition, Turn, message_text
from relay.protocol.answers import Answer, answers_of
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/threads/{thread_id}/runs/stream"
ASSISTANT: Final = "agent"
_BEFORE_THE_FIRST: Final = "0-0"  # the ids are those of Redis streams
THREADS: Final = uuid.UUID("033a05b5-2135-41ee-a631-618619a917a3")  # the namespace of the threads' names; never changes


def thread_id(session_id: str) -> str:
    """Return a session's thread. It must be a UUID, so it is made from the session's id (RFC 9562 §5.5)."""
    return str(uuid.uuid5(THREADS, session_id))


def _asked(turn: Turn) -> dict[str, Any]:
    """Return the run's input: the message, or the answers to interrupts."""
    answers = answers_of(turn.message)
    if answers:
        questions = {question.get("call_id"): question for question in turn.questions}
        resume = {answer.call_id: _resumed(answer, questions.get(answer.call_id, {})) for answer in answers}
        return {"command": {"resume": resume}}
    return {"input": {"messages": [{"role": "user", "content": message_text(turn.message)}]}}


def _resumed(answer: Answer, question: dict[str, Any]) -> Any:
    """Return an interrupt's value: the response that LangChain's ``HumanInTheLoopMiddleware`` takes, or a plain one.

    A graph asks ``if interrupt(…)``, so a rejection is ``False`` and no object, which would count as true.
    """
    if not answer.decision:
        return answer.value
    asked = question.get("arguments")
    actions = asked.get("action_requests") if isinstance(asked, dict) else None
    if isinstance(actions, list):
        return {"decisions": [_decision(answer, action) for action in actions if isinstance(action, dict)]}
    return answer.arguments if answer.arguments is not None else answer.is_approved


def _decision(answer: Answer, action: dict[str, Any]) -> dict[str, Any]:
    decision: dict[str, Any] = {"type": answer.decision}
    if answer.arguments is not None:
        decision["edited_action"] = {"name": action.get("name"), "args": answer.arguments}
    return {**decision, "message": answer.reason} if answer.reason else decision


# The shape of most events: a piece of text, and which task of the graph it comes from.


class _Extra(msgspec.Struct):
    reasoning_content: None = None


class _TextChunk(msgspec.Struct):
    type: Literal["AIMessageChunk"]  # not a tag: a tag may be missing
    content: str
    id: str | None = None
    additional_kwargs: _Extra | None = None
    tool_call_chunks: tuple[()] | None = None
    usage_metadata: None = None
    chunk_position: None = None


class _Origin(msgspec.Struct):
    langgraph_checkpoint_ns: str = ""


_text_chunk = msgspec.json.Decoder(tuple[_TextChunk, _Origin])


class RunEvents(AnswerReader):
    """Reads one run.

    A run of current servers has no last event: its body just ends, and ``_end`` makes that the answer's end. HTTP
    reports a body that is broken off; but a run that an operator cancelled, or whose server stops, ends like any
    other (seen). So a body may end only right after an update of the state, in which each of a graph's tasks ends.
    """

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self._run_id = ""
        self._may_end = False
        self._ends_in_call = False
        self._message_id: str | None = None  # of the last text
        self._gathered: dict[str | None, Gathered] = {}  # by the message's id
        self._streaming_tasks: list[str] = []  # in order, so a graph's tasks are found without a look at all others
        self._interrupts: set[str] = set()

    def opened(self, headers: Mapping[str, str]) -> None:
        """See ``AnswerReader``: ``Content-Location: /threads/<thread>/runs/<run>`` names the run."""
        self._run_id = headers.get("content-location", "").rpartition("/runs/")[2]
        if self.may_resume and path_segment(self._run_id) and is_run_name(self._run_id):
            self.run = SharedRun(self._run_id)

    def rejoin_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``. Without a cursor a server gives nothing that came before."""
        if not isinstance(self.run, SharedRun):
            return None
        runs = asked.path.rpartition("/")[0]
        headers = {**asked.headers, "Last-Event-ID": self.run.before or _BEFORE_THE_FIRST}
        return AgentRequest(f"{runs}/{path_segment(self._run_id)}/stream", None, "GET", headers)

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """See ``AnswerReader``."""
        self._run_id = position.run
        self._replay(SharedRun(position.run), so_far)
        return is_whole and position.skip == len(so_far)

    def stop_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        run = path_segment(self._run_id)
        if not run:
            return None
        runs = asked.path.rpartition("/")[0]
        return AgentRequest(f"{runs}/{run}/cancel", None, headers=asked.headers)

    def _read(self, event: Event, made: list[Frame]) -> None:
        name = event.event.partition("|")[0]  # a subgraph's name follows
        if name != "messages":
            self._take_event(name, json_value(event.data), made)
            return
        self._may_end = False
        try:
            chunk, origin = _text_chunk.decode(event.data)
        except (ValueError, RecursionError):  # not that, or not quite
            self._take_messages(json_value(event.data), made)
            return
        self._note_streaming(origin.langgraph_checkpoint_ns)
        if chunk.content:
            self._take_text(chunk.content, chunk.id, made)

    def _end(self, made: list[Frame]) -> None:
        if self._may_end:
            self._finish_run(made)

    def _finish_run(self, made: list[Frame]) -> None:
        self._add_gathered(made)
        self._finish(INTERRUPT if self._interrupts else TOOL_CALLS if self._ends_in_call else "stop", made)

    def _take_event(self, name: str, value: Any, made: list[Frame]) -> None:
        """Handle an event that is no message. Those that mean nothing here are signs of life."""
        fields = value if isinstance(value, dict) else {}
        if name == "error":
            self._fail(text_of(fields.get("message")) or value, made)  # ``error`` is only the error's class
        elif name == "end":  # of older servers
            self._finish_run(made)
        elif name == "metadata":
            self._run_id = self._run_id or text_of(fields.get("run_id"))
        elif name == "updates":
            self._take_update(fields, made)
        elif name == "custom":
            self._may_end = False
            self._pass_on(value if isinstance(fields.get("type"), str) else {"type": "custom", "data": value}, made)
        elif not name:
            self._skip("malformed", made)

    def _take_update(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Handle a task's end, or the interrupts in which it waits for a person. Other tasks may continue."""
        self._add_gathered(made)
        self._may_end = True
        interrupts = fields.get("__interrupt__")
        if isinstance(interrupts, list):
            for interrupt in interrupts or [{}]:  # none: a breakpoint
                self._add_interrupt(interrupt if isinstance(interrupt, dict) else {"value": interrupt}, made)

    def _add_interrupt(self, interrupt: dict[str, Any], made: list[Frame]) -> None:
        call_id = text_of(interrupt.get("id")) or self._turn_id
        if call_id in self._interrupts:
            return
        self._interrupts.add(call_id)
        asked = interrupt.get("value")
        asked = asked if isinstance(asked, dict) else {} if asked is None else {"value": asked}
        self._add_event(vocabulary.interrupt(call_id, None, asked), made)

    def _take_messages(self, value: Any, made: list[Frame]) -> None:
        message, origin = value if isinstance(value, list) and len(value) == 2 else (None, None)
        if not isinstance(message, dict):
            self._skip("malformed", made)
            return
        kind = message.get("type")
        task = text_of(origin.get("langgraph_checkpoint_ns")) if isinstance(origin, dict) else ""
        if kind == "AIMessageChunk":
            self._note_streaming(task)
            self._take_message(message, made)
        elif kind == "ai" and not self._has_streamed(task):
            self._take_message({**message, "chunk_position": "last"}, made)
        elif kind == "tool":
            self._ends_in_call = False
            self._add_event(tool_result(message), made)

    def _has_streamed(self, task: str) -> bool:
        """Did the task send pieces, or a task of a graph within it? Then a whole message of it says them again."""
        within = f"{task}|"
        return self._next_streaming(task) == [task] or any(
            name.startswith(within) for name in self._next_streaming(within)
        )

    def _note_streaming(self, task: str) -> None:
        if self._next_streaming(task) != [task]:
            insort(self._streaming_tasks, task)

    def _next_streaming(self, name: str) -> list[str]:
        """Return the first streaming task at or behind a name, if there is one."""
        at = bisect_left(self._streaming_tasks, name)
        return self._streaming_tasks[at : at + 1]

    def _take_message(self, message: dict[str, Any], made: list[Frame]) -> None:
        """Handle a piece of a message of the model, or a whole one."""
        message_id = text_of(message.get("id")) or None
        for is_reasoning, text in pieces(message):
            if is_reasoning:
                self._add_event(vocabulary.reasoning(text), made)
            else:
                self._take_text(text, message_id, made)
        self._gathered.setdefault(message_id, Gathered()).add(message)
        if message.get("chunk_position") == "last":
            self._add_gathered(made, message_id)

    def _take_text(self, text: str, message_id: str | None, made: list[Frame]) -> None:
        if message_id is not None and message_id != self._message_id:
            if self._message_id is not None:
                self._add_event(vocabulary.message_start(message_id), made)
            self._message_id = message_id
        self._ends_in_call = False
        self._add_text(text, made)

    def _add_gathered(self, made: list[Frame], *message_ids: str | None) -> None:
        """Add the tool calls and the usage of messages that are whole: of these, or of all."""
        for message_id in message_ids or tuple(self._gathered):
            for fields in self._gathered.pop(message_id).events(self._turn_id):
                self._ends_in_call = self._ends_in_call or fields["type"] == "tool_call"
                self._add_event(fields, made)


class LangGraph(AgentProtocol):
    """A LangGraph server. A session is a thread; the thread remembers."""

    keeps_history = True
    reader_class = RunEvents

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        body = {
            "assistant_id": settings.model or ASSISTANT,
            **_asked(turn),
            "stream_mode": ["messages-tuple", "custom", "updates"],
            "stream_resumable": True,
            "on_disconnect": "continue",
            "if_not_exists": "create",
        }
        return AgentRequest((settings.path or PATH).replace("{thread_id}", thread_id(turn.session_id)), body)

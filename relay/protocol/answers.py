"""A person's answers to what an agent asks: read from every kind of message that may hold one. Pure.

An agent asks with a ``tool_call`` that has ``requires_approval``. Its ``call_id`` names the question.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

Fields = dict[str, Any]  # any JSON object

TOOL_RESULT: Final = "tool_result"
DECISION: Final = "hitl_decision"  # of the front ends of this protocol: human in the loop
APPROVE: Final = "approve"
EDIT: Final = "edit"
REJECT: Final = "reject"
MAX_ANSWERS: Final = 100  # in one message
MAX_CALL_ID_CHARACTERS: Final = 1_000

_APPROVALS: Final = (APPROVE, "approved", "accept")  # a tuple, for any JSON is looked up in it
_ARGUMENTS: Final = ("arguments", "edited_arguments", "edited_args", "editedArgs", "args")
_REASONS: Final = ("reason", "message", "feedback")
_RESULTS: Final = ("result", "content", "error")


class Answer(NamedTuple):
    """A person's answer to one question.

    Attributes:
        decision: ``approve``, ``edit`` or ``reject``; empty: the answer is a value.
        value: the result of a ``tool_result``; any JSON.
        arguments: of an ``edit``: they replace those of the call.
        reason: a person's words; may be empty.
    """

    call_id: str
    decision: str = ""
    value: Any = None
    arguments: Fields | None = None
    reason: str = ""

    @property
    def is_approved(self) -> bool:
        """May the call be made? Whatever is no clear approval is none."""
        return self.decision in (APPROVE, EDIT)

    @property
    def fields(self) -> Fields:
        """The members of a decision, or of a value, in a message of ours."""
        if not self.decision:
            return {"result": self.value}
        edited = {} if self.arguments is None else {"arguments": self.arguments}
        return {"decision": self.decision, **edited, **({"reason": self.reason} if self.reason else {})}


def call_id_of(fields: Fields) -> str:
    """Return the id of a tool call, of its result or of a question, in either spelling; empty if it has none."""
    return _call_id(fields.get("call_id") or fields.get("tool_call_id"))


def answers_of(message: Fields) -> list[Answer]:
    """Return the answers in a client's message, at most one for each question."""
    kind = message.get("type")
    found: list[Answer | None] = []
    if isinstance(message.get("resume"), list):  # AG-UI's
        found = [_of_resume(entry) for entry in _objects(message["resume"])]
    elif kind == TOOL_RESULT:
        found = [_of_result(_nested(message))]
    elif kind == DECISION:
        decisions = message.get("decisions")
        entries = _objects(decisions) if isinstance(decisions, list) else [_nested(message)]
        found = [_of_decision(entry) for entry in entries]
    answers = {answer.call_id: answer for answer in found[:MAX_ANSWERS] if answer is not None}
    return list(answers.values())


def decision_message(answers: list[Answer]) -> Fields:
    """Write answers that came in a front end's protocol as one message of ours."""
    entries = [{"call_id": answer.call_id, **answer.fields} for answer in answers]
    if len(entries) > 1:
        return {"type": DECISION, "decisions": entries}
    return {"type": DECISION if answers[0].decision else TOOL_RESULT, **entries[0]}


def resume_answers(resume: Any) -> list[Answer]:
    """Return the answers in AG-UI's ``resume`` (any JSON)."""
    return answers_of({"resume": resume})


def _of_result(fields: Fields) -> Answer | None:
    call_id = call_id_of(fields)
    value = next((fields[name] for name in _RESULTS if name in fields), None)
    return Answer(call_id, value=value) if call_id else None


def _of_decision(fields: Fields) -> Answer | None:
    call_id, decision = call_id_of(fields), fields.get("decision")
    if not call_id:
        return None
    if "decision" not in fields and "result" in fields:
        return Answer(call_id, value=fields["result"])
    arguments = next((fields[name] for name in _ARGUMENTS if isinstance(fields.get(name), dict)), None)
    reason = next((fields[name] for name in _REASONS if isinstance(fields.get(name), str)), "")
    if decision in _APPROVALS:
        return Answer(call_id, APPROVE, reason=reason)
    if decision == EDIT and arguments is not None:
        return Answer(call_id, EDIT, arguments=arguments, reason=reason)
    return Answer(call_id, REJECT, reason=reason)


def _of_resume(entry: Fields) -> Answer | None:
    """Read an entry: ``interruptId``, ``status`` and ``payload``. A payload without ``approved`` is a value."""
    call_id, payload = _call_id(entry.get("interruptId")), entry.get("payload")
    if not call_id:
        return None
    if entry.get("status") == "cancelled":
        return Answer(call_id, REJECT)
    if not isinstance(payload, dict) or "approved" not in payload:
        return Answer(call_id, value=payload)
    decision = REJECT
    if payload["approved"] is True:
        decision = EDIT if any(isinstance(payload.get(name), dict) for name in _ARGUMENTS) else APPROVE
    return _of_decision({**payload, "call_id": call_id, "decision": decision})


def _nested(message: Fields) -> Fields:
    """Return the object that has the answer: the message, or the one in its ``content``."""
    content = message.get("content")
    return content if isinstance(content, dict) and not call_id_of(message) else message


def _objects(values: list[Any]) -> list[Fields]:
    return [value for value in values if isinstance(value, dict)]


def _call_id(value: Any) -> str:
    """Return a text that may name a question, or nothing: half a character, which JSON may hold, cannot be stored."""
    if not isinstance(value, str) or len(value) > MAX_CALL_ID_CHARACTERS:
        return ""
    is_whole = value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return value if is_whole else ""

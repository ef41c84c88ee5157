"""Models of what only REST has: they describe its bodies and answers for OpenAPI, and check them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from ninja import Body, Path, Query
from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, field_validator

from relay.conf import conf
from relay.models import MAX_TITLE_CHARACTERS
from relay.policies.handshake import is_subject
from relay.protocol import json_text
from relay.protocol.client_messages import MAX_HISTORY_TURNS, MAX_NESTING, is_deeper_than, is_session_id
from relay.protocol.text import clean
from relay.web.frame_schemas import Active, Pending, Refusal, Snapshot
from relay.web.message_schemas import CancelFields, Message
from relay.web.schema_fields import Epoch, Model, Moment, Offset, TurnId

MAX_LIMIT: Final = MAX_HISTORY_TURNS  # of a page, whatever is on it
MAX_TICKET_SECONDS: Final = 86_400
MAX_METADATA_CHARACTERS: Final = 16_384

# Valid values of a field, for the caller. Any other invalid field makes the whole body an invalid message.
EXPECTED: Final = {
    "session_id": "1 to 128 of A-Z a-z 0-9 . _ : ~ @ -, but not a dot or two alone",
    "subject": "1 to 255 printable ASCII characters",
    "expires_in": f"a whole number of seconds, 1 to {MAX_TICKET_SECONDS}",
    "limit": f"a whole number, 1 to {MAX_LIMIT}",
    "title": f"a text of at most {MAX_TITLE_CHARACTERS} characters",
    "metadata": f"a JSON object of at most {MAX_METADATA_CHARACTERS} characters",
    "q": f"a text of at most {MAX_TITLE_CHARACTERS} characters",
    "before": "`next` of a page",
}


def _checked(is_valid: Callable[[str], bool]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not is_valid(text):
            raise ValueError
        return text

    return check


def _without_fraction(value: object) -> object:
    """Read ``60.0`` as 60: to JSON Schema both are the same integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SESSION_ID_SCHEMA: Final = WithJsonSchema(
    {
        "type": "string",
        "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._:~@-]{1,128}$",
        "description": "1 to 128 of A-Z a-z 0-9 . _ : ~ @ -, but not . or ..",
    }
)
SessionId = Annotated[str, AfterValidator(_checked(is_session_id)), _SESSION_ID_SCHEMA]
SessionPath = Annotated[str, _SESSION_ID_SCHEMA, Path()]  # the path's converter has checked it
SESSION: Final = "/sessions/{relay_session_id:session_id}"
PageCursor = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "pattern": "^([A-Za-z0-9_-]{4})*$", "description": "`next` of the previous page, or empty."}
    ),
]
Subject = Annotated[
    str,
    AfterValidator(_checked(is_subject)),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[!-~]([ -~]{0,253}[!-~])?$",
            "description": "The user of the ticket: 1 to 255 printable ASCII characters, no space at either end.",
        }
    ),
]


class ListedSession(Model):
    """A session in a list."""

    session_id: str
    epoch: Epoch
    offset: Offset
    active: Active | None
    queued: list[TurnId]
    pending: Annotated[int, Field(ge=0, description="Questions of the agent that wait for a person.")]
    viewers: Annotated[int, Field(ge=0)]
    idle_seconds: Annotated[float, Field(description="Since the last frame or message.")]
    age_seconds: Annotated[float, Field(description="Since the session was started.")]


class SessionPage(Model):
    """Some of the sessions; ``next`` is the cursor of the next page, null on the last."""

    sessions: list[ListedSession]
    next: str | None
    warning: Annotated[
        str, Field(description="Absent if every node of the store answered; otherwise how many did not.")
    ] = ""


class PendingPage(Model):
    """Questions of the agent, oldest first."""

    pending: list[Pending]


def _storable(metadata: dict[str, Any]) -> dict[str, Any]:
    """Check the size of an object (any JSON), and replace the characters that no database takes."""
    if is_deeper_than(MAX_NESTING, metadata) or len(json_text.encode(metadata)) > MAX_METADATA_CHARACTERS:
        raise ValueError
    stored: dict[str, Any] = _cleaned(metadata)
    return stored


def _cleaned(value: Any) -> Any:  # Any: any JSON
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {clean(name): _cleaned(item) for name, item in value.items()} if isinstance(value, dict) else value


class ConversationChanges(Model):
    """Sets the title or the metadata of a session, or both."""

    title: Annotated[str | None, Field(max_length=MAX_TITLE_CHARACTERS, description="A sentence for a person.")] = None
    metadata: Annotated[
        dict[str, Any] | None,
        Field(description=f"For front ends; at most {MAX_METADATA_CHARACTERS} characters of JSON."),
    ] = None

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if metadata is None else _storable(metadata)


class KeptSession(Model):
    """A session as its owner sees it."""

    session_id: str
    title: Annotated[str, Field(description="Set by its owner or its agent, otherwise its first words; may be empty.")]
    created: Moment
    updated: Annotated[Moment, Field(description="When its last turn ended.")]
    metadata: dict[str, Any]


class OwnSession(KeptSession):
    """One of the caller's sessions, in a list."""

    active: Active | None
    pending: Annotated[int, Field(ge=0, description="Questions of the agent that wait for a person.")]


class ConversationPage(Model):
    """Some of the caller's sessions; ``next`` is the cursor of the next page, null on the last."""

    sessions: list[OwnSession]
    next: str | None


class ClearedQueue(Model):
    """The result of clearing a queue."""

    cancelled: Annotated[int, Field(ge=0, description="The number of turns that will end without being run.")]


class DisconnectedViewers(Model):
    """The number of viewers being disconnected."""

    viewers: Annotated[int, Field(ge=0, description="The number of viewers.")]


class NoticeRequest(Model):
    """Sends a notice to every client, or to the clients of one session."""

    content: Annotated[str, Field(pattern=r"\S", description="A sentence for a person.")]
    session_id: SessionId | None = None


class DrainRequest(Model):
    """Gracefully stops one process, or every process."""

    everywhere: Annotated[bool, Field(strict=True)] = False


class FramePage(Model):
    """Frames of the log, as sent to a ``gateway.v1`` client; empty after the newest frame."""

    epoch: Epoch
    frames: list[dict[str, object]]


class SnapshotPage(Model):
    """A snapshot that replaces missing frames."""

    epoch: Epoch
    snapshot: Snapshot


class TicketRequest(Model):
    """Requests a ticket."""

    session_id: SessionId
    subject: Subject | None = None
    expires_in: Annotated[
        int | None,
        Field(strict=True, ge=1, le=MAX_TICKET_SECONDS, description="Seconds; absent: GATEWAY__TICKET_SECONDS."),
        BeforeValidator(_without_fraction),
    ] = None


class IssuedTicket(Model):
    """A ticket for the browser that will open the session."""

    ticket: str
    expires_in: Annotated[int, Field(description="Seconds.")]


class Detail(Model):
    """An error of a request that is not about a message."""

    detail: str


# Bodies and answers of REST.

CANCEL: Final = CancelFields()
DRAIN_HERE: Final = DrainRequest()
NO_CHANGES: Final = ConversationChanges()
Words = Annotated[str, Query(max_length=MAX_TITLE_CHARACTERS)]


class _DescribedBy:
    """Describe a body by models, where it is read as a plain object because its text may hold half a character."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the models' schema."""
        return self._describe()


def _message_schema() -> dict[str, Any]:
    """Describe what starts a turn: a user message, or one of the further kinds of this gateway."""
    message = Message.model_json_schema()
    message["properties"] |= {name: {} for name in sorted(conf.message_fields)}
    if not conf.further_kinds:
        return message
    properties = {**message["properties"], "content": {}, "type": {"enum": sorted(conf.further_kinds)}}
    return {"oneOf": [message, {**message, "title": "Forwarded", "properties": properties, "required": ["type"]}]}


MessageBody = Annotated[dict[Any, Any], _DescribedBy(_message_schema), Body()]
NoticeBody = Annotated[dict[Any, Any], _DescribedBy(NoticeRequest.model_json_schema), Body()]


def answers(success: dict[int, Any], *refusals: int, in_session: bool = True) -> dict[int, Any]:
    """List an operation's answers by status, for ninja: models of success, and how it may be refused.

    Args:
        refusals: statuses that come with the error frame. 401, and in a session 404, come with a detail.
    """
    details = (401, 404) if in_session else (401,)
    return {**success, **dict.fromkeys(details, Detail), **dict.fromkeys(refusals, Refusal)}


def client_answers(success: dict[int, Any], *refusals: int, in_session: bool = True) -> dict[int, Any]:
    """List the answers of an operation that the access policy opens to clients; see ``answers``."""
    return {**answers(success, *refusals, in_session=in_session), 403: Detail}

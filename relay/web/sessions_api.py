"""REST: sessions, as services list and describe them, and as their owners make, name and erase them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Body, Query, Router, Status

from relay.access.auth import limited_network
from relay.access.rate_limits import take_new_session
from relay.delivery.subscription import listed_fields, welcome_fields
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import Forbidden
from relay.layers.values import SessionState, new_id
from relay.process import lifecycle
from relay.transcripts import conversation_rows
from relay.transcripts.conversation_rows import KeptConversation
from relay.transcripts.kept_turn import moment_text
from relay.web import frame_schemas, rest_schemas
from relay.web.callers import NO_SESSION, admitted_reader, by_policy, check_owner, use_up
from relay.web.page_cursor import page_cursor, read_page_cursor
from relay.web.rest_schemas import SESSION, SessionPath, answers, client_answers

DEFAULT_LIMIT: Final = 256

Limit = Annotated[int, Query(ge=1, le=rest_schemas.MAX_LIMIT)]
Changes = Annotated[rest_schemas.ConversationChanges, Body()]

router = Router()

# For services.


@router.get(
    "/sessions",
    response=answers({200: rest_schemas.SessionPage}, 400, 503, in_session=False),
    exclude_unset=True,  # of the page: the warning that there is none
)
async def list_sessions(
    request: HttpRequest, cursor: rest_schemas.PageCursor = "", limit: Limit = DEFAULT_LIMIT
) -> dict[str, object]:
    """List the live sessions, one page per call: `next` is the cursor of the next page, and null on the last page."""
    gateway = await lifecycle.current()
    page = await within_store_timeout(gateway.layer.page(read_page_cursor(cursor), limit))
    sessions = [listed_fields(state) for state in page.sessions]
    fields: dict[str, object] = {"sessions": sessions, "next": page_cursor(page.cursor) if page.cursor else None}
    return {**fields, "warning": page.warning} if page.warning else fields


@router.get(SESSION, response=answers({200: frame_schemas.SessionInfo}, 503))
async def describe_session(request: HttpRequest, session_id: SessionPath) -> dict[str, object]:
    """Describe a session, as `welcome` does to a client without a cursor."""
    return _info(await found_session(session_id))


# For clients too: the access policy decides, after the key.


@router.post(
    "/sessions",
    auth=by_policy,
    response=client_answers({201: rest_schemas.KeptSession}, 400, 413, 429, 503, in_session=False),
)
async def create_session(request: HttpRequest, fields: Changes = rest_schemas.NO_CHANGES) -> Status[dict[str, object]]:
    """Create a session of the caller, with an id that cannot be guessed. Its log starts with its first message."""
    handshake, reader = await admitted_reader(request, NO_SESSION)
    gateway = await lifecycle.current()
    network = limited_network(handshake)
    await within_store_timeout(take_new_session(gateway.layer.limits, reader.subject or "", network))
    session_id = new_id()
    create = partial(conversation_rows.create, session_id, reader.subject, fields.title, fields.metadata)
    unkept = conversation_rows.unkept(session_id, reader.subject)
    made = await within_store_timeout(gateway.transcripts.ask(create, unkept))
    return Status(201, kept_fields(made))


@router.patch(SESSION, auth=by_policy, response=client_answers({200: rest_schemas.KeptSession}, 400, 413, 503))
async def change_session(request: HttpRequest, session_id: SessionPath, fields: Changes) -> dict[str, object]:
    """Set a session's title or metadata. The agent cannot change this title; an empty one lets it choose again."""
    handshake, reader = await admitted_reader(request, session_id)
    gateway = await lifecycle.current()
    await within_store_timeout(check_owner(gateway, session_id, reader))
    await use_up(handshake)
    change = partial(conversation_rows.change, session_id, fields.title, fields.metadata)
    changed = await within_store_timeout(gateway.transcripts.ask(change, None))
    if changed is None:
        raise Http404
    return kept_fields(changed)


@router.delete(SESSION, auth=by_policy, response=client_answers({204: None}, 503))
async def delete_session(request: HttpRequest, session_id: SessionPath) -> HttpResponse:
    """Erase a session, its log and its transcripts: for services and its owner. Its turns end, viewers are told."""
    handshake, reader = await admitted_reader(request, session_id)
    if reader.subject is None and not reader.is_service:
        raise Forbidden
    gateway = await lifecycle.current()
    await within_store_timeout(check_owner(gateway, session_id, reader))
    await use_up(handshake)
    if not await within_store_timeout(gateway.control.delete(session_id)):
        raise Http404
    return HttpResponse(status=204)


async def found_session(session_id: str) -> SessionState:
    """Describe a live session; ``Http404`` if there is none."""
    state = await within_store_timeout((await lifecycle.current()).layer.get(session_id))
    if state is None or state.is_empty:
        raise Http404
    return state


def _info(state: SessionState) -> dict[str, object]:
    fields = welcome_fields(state, state.resume())
    del fields["type"]
    return fields


def kept_fields(conversation: KeptConversation) -> dict[str, Any]:  # Any: its metadata
    """Return a conversation's members in REST."""
    return {
        "session_id": conversation.session_id,
        "title": conversation.title,
        "created": moment_text(conversation.created),
        "updated": moment_text(conversation.updated),
        "metadata": conversation.metadata,
    }

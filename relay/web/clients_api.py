"""REST for front ends, which the access policy admits as it does to a session's log: histories and own sessions."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from django.http import Http404, HttpRequest
from ninja import Query, Router

from relay.access.auth import limited_network
from relay.access.rate_limits import take_reading
from relay.delivery.pending import pending_fields
from relay.delivery.subscription import listed_fields
from relay.delivery.timeouts import within_store_timeout
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol.client_messages import DEFAULT_HISTORY_TURNS
from relay.transcripts import conversation_rows
from relay.transcripts.conversation_rows import KeptConversation
from relay.web import frame_schemas, rest_schemas
from relay.web.callers import NO_SESSION, admitted_reader, by_policy, use_up
from relay.web.page_cursor import position_cursor, read_position
from relay.web.rest_schemas import SESSION, SessionPath, client_answers
from relay.web.schema_fields import TurnCursor
from relay.web.sessions_api import kept_fields

Limit = Annotated[int, Query(ge=1, le=rest_schemas.MAX_LIMIT)]

router = Router(auth=by_policy)


@router.get(f"{SESSION}/turns", response=client_answers({200: frame_schemas.TurnPage}, 400, 429, 503))
async def read_turns(
    request: HttpRequest, session_id: SessionPath, before: TurnCursor = "", limit: Limit = DEFAULT_HISTORY_TURNS
) -> dict[str, object]:
    """Read a session's ended turns, newest first; `next` is `before` of the next page, and null on the last.

    A page has fewer turns than `limit` if they are long.
    """
    handshake, reader = await admitted_reader(request, session_id)
    gateway = await lifecycle.current()
    await within_store_timeout(take_reading(gateway.layer.limits, session_id, limited_network(handshake)))
    page = await within_store_timeout(gateway.history.page(session_id, reader, before, limit))
    await use_up(handshake)
    return page.fields()


@router.get(f"{SESSION}/pending", response=client_answers({200: rest_schemas.PendingPage}, 503))
async def list_pending(request: HttpRequest, session_id: SessionPath) -> dict[str, object]:
    """List the agent's questions that no message has answered yet."""
    handshake, reader = await admitted_reader(request, session_id)
    layer = (await lifecycle.current()).layer
    state = await within_store_timeout(layer.get(session_id, reader.subject))
    if state is None:
        raise Http404
    await use_up(handshake)
    return {"pending": pending_fields(state)}


@router.get(
    "/me/sessions", response=client_answers({200: rest_schemas.ConversationPage}, 400, 429, 503, in_session=False)
)
async def list_own_sessions(
    request: HttpRequest,
    cursor: rest_schemas.PageCursor = "",
    q: rest_schemas.Words = "",
    limit: Limit = DEFAULT_HISTORY_TURNS,
) -> dict[str, object]:
    """List the caller's own sessions, last used first: `q` searches titles, `next` is the next page's `cursor`."""
    handshake, reader = await admitted_reader(request, NO_SESSION)
    gateway = await lifecycle.current()
    await within_store_timeout(take_reading(gateway.layer.limits, f"@{reader.subject}", limited_network(handshake)))
    read = partial(conversation_rows.page, reader.subject, q, read_position(cursor), limit + 1)
    found: list[KeptConversation] = await within_store_timeout(gateway.transcripts.ask(read, []))
    page = found[:limit]
    after = position_cursor(page[-1].updated, page[-1].pk) if len(found) > limit else None
    sessions = await within_store_timeout(asyncio.gather(*(_listed(gateway, each) for each in page)))
    return {"sessions": sessions, "next": after}


async def _listed(gateway: Gateway, conversation: KeptConversation) -> dict[str, object]:
    state = await gateway.layer.get(conversation.session_id)
    active = listed_fields(state)["active"] if state is not None else None
    return {**kept_fields(conversation), "active": active, "pending": len(state.questions) if state is not None else 0}

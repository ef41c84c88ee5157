"""REST for front ends, which the access policy admits as it does to a session's log, and for services."""

from __future__ import annotations

from typing import Annotated

from django.http import Http404, HttpRequest
from ninja import Query, Router

from relay.access.auth import limited_network, redeem, shows_internal_key
from relay.access.rate_limits import take_reading
from relay.adapters.entrance import admitted, scope_of
from relay.delivery.pending import pending_fields
from relay.delivery.session_connection import record_refusal
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import RelayError
from relay.policies import Handshake
from relay.process import lifecycle
from relay.protocol.client_messages import DEFAULT_HISTORY_TURNS
from relay.transcripts.kept_turn import Reader
from relay.web import frame_schemas, rest_schemas
from relay.web.rest_schemas import SESSION, SessionPath, client_answers
from relay.web.schema_fields import TurnCursor

TurnLimit = Annotated[int, Query(ge=1, le=rest_schemas.MAX_LIMIT)]

router = Router(auth=None)  # the access policy decides, after the key


@router.get(f"{SESSION}/turns", response=client_answers({200: frame_schemas.TurnPage}, 400, 429, 503))
async def read_turns(
    request: HttpRequest,
    session_id: SessionPath,
    before: TurnCursor = "",
    limit: TurnLimit = DEFAULT_HISTORY_TURNS,
) -> dict[str, object]:
    """Read a session's ended turns, the newest first; `next` is `before` of the next page, and null on the last.

    A page holds fewer turns than `limit` where they are long.
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


async def admitted_reader(request: HttpRequest, session_id: str) -> tuple[Handshake, Reader]:
    """Admit a client as to the session's log.

    Raises:
        Unauthorized, Forbidden, StoreUnavailable: the policy, or the page's Origin, refuses the client.
    """
    try:
        handshake, identity = await admitted(scope_of(request), session_id)
    except RelayError as exc:
        record_refusal(exc)
        raise
    return handshake, Reader(identity.subject, is_service=shows_internal_key(handshake.headers))


async def use_up(handshake: Handshake) -> None:
    """Use up the client's credential, if it is good once: nothing refuses the client after this.

    Raises:
        Unauthorized, StoreUnavailable: it was used meanwhile, or that cannot be told.
    """
    await within_store_timeout(redeem(handshake, (await lifecycle.current()).policy, ""))

"""REST for operators: what is about connections and processes, and reaches all of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ClientMessageInvalid, ParameterInvalid
from relay.process import lifecycle
from relay.process.control import end_process
from relay.protocol.client_messages import is_session_id
from relay.web import schemas
from relay.web.json_io import body_of, json_response, read_body, read_object

logger = logging.getLogger(__name__)

router = Router()


@router.delete("/sessions/{session_id:session_id}/queue", response={200: schemas.ClearedQueue, 503: schemas.Refusal})
async def clear_queue(request: HttpRequest, session_id: str) -> HttpResponse:
    """Cancel every queued turn; each ends `cancelled` in its place. The turn in flight goes on."""
    gateway = await lifecycle.current()
    return json_response({"cancelled": await within_store_timeout(gateway.layer.clear_queue(session_id))})


@router.delete(
    "/sessions/{session_id:session_id}/viewers", response={202: schemas.DisconnectedViewers, 503: schemas.Refusal}
)
async def disconnect_viewers(request: HttpRequest, session_id: str) -> HttpResponse:
    """Send everybody away who watches the session now: `kicked`, 4403. The session goes on."""
    gateway = await lifecycle.current()
    state = await within_store_timeout(gateway.layer.get(session_id))
    await within_store_timeout(gateway.control.disconnect(session_id))
    return json_response({"viewers": state.viewers if state is not None else 0}, status=202)


@router.post(
    "/notice", response={202: None, (400, 413, 503): schemas.Refusal}, openapi_extra=body_of(schemas.NoticeRequest)
)
async def give_notice(request: HttpRequest) -> HttpResponse:
    """Show words to every `gateway.v1` client, or to those of one session; plain has no frame for it."""
    fields = read_object(request)
    content, session_id = fields.get("content"), fields.get("session_id")
    if not isinstance(content, str) or not content.strip():
        raise ParameterInvalid("content must be words.")
    if session_id is not None and not (isinstance(session_id, str) and is_session_id(session_id)):
        raise ParameterInvalid("session_id must name a session.")
    gateway = await lifecycle.current()
    await within_store_timeout(gateway.control.notify(content, session_id))
    return HttpResponse(status=202)


@router.post("/drain", response={202: None, (400, 503): schemas.Refusal}, openapi_extra=body_of(schemas.DrainRequest))
async def drain(request: HttpRequest) -> HttpResponse:
    """End this process in order, as SIGTERM does; with `everywhere` all of them."""
    fields: dict[str, Any] = read_object(request) if read_body(request) else {}
    is_everywhere = fields.get("everywhere", False)
    if not isinstance(is_everywhere, bool):
        raise ClientMessageInvalid
    gateway = await lifecycle.current()
    if is_everywhere:
        await within_store_timeout(gateway.control.drain())
    else:
        logger.info("drain requested by an operator")
        asyncio.get_running_loop().call_soon(end_process)
    return HttpResponse(status=202)

"""REST for operators: orders about connections and processes, which reach every process."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Body, Router, Status

from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ParameterInvalid
from relay.process import lifecycle
from relay.process.control import end_process
from relay.protocol.client_messages import is_session_id
from relay.web import rest_schemas
from relay.web.rest_schemas import SESSION, SessionPath, answers

logger = logging.getLogger(__name__)

router = Router()


@router.delete(f"{SESSION}/queue", response=answers({200: rest_schemas.ClearedQueue}, 503))
async def clear_queue(request: HttpRequest, session_id: SessionPath) -> dict[str, object]:
    """Cancel every queued turn; each ends `cancelled` in its place. The turn in flight continues."""
    gateway = await lifecycle.current()
    return {"cancelled": await within_store_timeout(gateway.layer.clear_queue(session_id))}


@router.delete(f"{SESSION}/viewers", response=answers({202: rest_schemas.DisconnectedViewers}, 503))
async def disconnect_viewers(request: HttpRequest, session_id: SessionPath) -> Status[dict[str, object]]:
    """Disconnect every present viewer of a session: `kicked`, 4403. The session continues."""
    gateway = await lifecycle.current()
    state = await within_store_timeout(gateway.layer.get(session_id))
    await within_store_timeout(gateway.control.disconnect(session_id))
    return Status(202, {"viewers": state.viewers if state is not None else 0})


@router.post("/notice", response=answers({202: None}, 400, 413, 503, in_session=False))
async def send_notice(request: HttpRequest, fields: rest_schemas.NoticeBody) -> HttpResponse:
    """Send a notice to every `gateway.v1` client, or to those of one session. Plain clients do not get notices."""
    content, session_id = fields.get("content"), fields.get("session_id")
    if not isinstance(content, str) or not content.strip():
        raise ParameterInvalid("content must be a text that is not empty.")
    if session_id is not None and not (isinstance(session_id, str) and is_session_id(session_id)):
        raise ParameterInvalid("session_id must name a session.")
    gateway = await lifecycle.current()
    await within_store_timeout(gateway.control.notify(content, session_id))
    return HttpResponse(status=202)


@router.post("/drain", response=answers({202: None}, 400, 413, 503, in_session=False))
async def drain(
    request: HttpRequest, fields: Annotated[rest_schemas.DrainRequest, Body()] = rest_schemas.DRAIN_HERE
) -> HttpResponse:
    """Gracefully stop this process, like SIGTERM; with `everywhere`, stop every process."""
    if fields.everywhere:
        gateway = await lifecycle.current()
        await within_store_timeout(gateway.control.drain())
    else:
        logger.info("drain requested by an operator")
        asyncio.get_running_loop().call_soon(end_process)
    return HttpResponse(status=202)

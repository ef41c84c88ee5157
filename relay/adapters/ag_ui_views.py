"""AG-UI's runs over HTTP: a ``POST`` starts one, or continues with it behind ``Last-Event-ID``; a ``GET`` joins one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.adapters.ag_ui import AgUiTranslator, read_request
from relay.adapters.ag_ui_runs import Run, RunStream, find_run, offset_in, read_cursor, remember_run
from relay.adapters.base import foreign_id_of
from relay.adapters.entrance import (
    admitted,
    check_message,
    endpoint,
    read_json,
    request_limits,
    retry_headers,
    scope_of,
)
from relay.delivery.http_stream import HttpStreamResponse
from relay.exceptions import RelayError
from relay.process import lifecycle
from relay.protocol import json_text
from relay.protocol.http_status import status_of
from relay.protocol.request_headers import LAST_EVENT_ID, TRACEPARENT

ADAPTER: Final = "ag-ui"


def refuse(reason: RelayError) -> HttpResponse:
    """Answer in JSON, with the members of ``RUN_ERROR``."""
    fields = {"message": str(reason), "code": reason.code}
    return HttpResponse(
        json_text.encode(fields),
        status=status_of(reason),
        content_type="application/json",
        headers=retry_headers(reason),
    )


@endpoint(ADAPTER, "POST", refuse)
async def run(request: HttpRequest) -> HttpResponseBase:
    """Answer the last message of a thread. ``runId`` names the run: the same again gives it from the cursor."""
    body = read_json(request)
    session_id, message = read_request(body, request_limits())
    check_message(message)
    stream, chunks = await _opened(request, session_id, request.headers.get(LAST_EVENT_ID, ""))
    try:
        turn_id = (await stream.start_turn(message, request.headers.get(TRACEPARENT))).turn_id
        limits = stream.connection.gateway.layer.limits
        await remember_run(limits, body["runId"], Run(turn_id, session_id))
    except BaseException:
        await chunks.aclose()
        raise
    stream.follow(AgUiTranslator(turn_id, thread_id=body["threadId"], run_id=body["runId"]))
    return HttpStreamResponse(request, stream, chunks)


async def replay(request: HttpRequest) -> HttpResponseBase:
    """Return the run ``runId`` from its start, or after the event that ``Last-Event-ID`` or ``offset`` names."""
    run_id = request.GET.get("runId", "")
    known = await find_run((await lifecycle.current()).layer.limits, run_id)
    cursor = request.headers.get(LAST_EVENT_ID) or offset_in(request.GET.dict())
    stream, chunks = await _opened(request, known.session_id, cursor)
    try:
        await stream.attach_named(known.turn_id)
    except BaseException:
        await chunks.aclose()
        raise
    stream.follow(AgUiTranslator(known.turn_id, thread_id=foreign_id_of(known.session_id), run_id=run_id))
    return HttpStreamResponse(request, stream, chunks)


async def _opened(
    request: HttpRequest, session_id: str, last_event_id: str
) -> tuple[RunStream, AsyncGenerator[bytes, None]]:
    """Admit the client, and open a stream at its cursor."""
    cursor = read_cursor(last_event_id, "Last-Event-ID")
    epoch = cursor.epoch if cursor is not None else ""
    stream = RunStream(session_id, *await admitted(scope_of(request), session_id, cursor_epoch=epoch), cursor)
    chunks = await stream.open()
    try:
        stream.check_cursor()
    except RelayError:
        await chunks.aclose()
        raise
    return stream, chunks

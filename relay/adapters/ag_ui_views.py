"""AG-UI over HTTP: a ``POST`` starts a run, or goes on with it behind ``Last-Event-ID``; a ``GET`` joins one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.adapters.ag_ui import AgUiTranslator, EventId, parse_event_id, read_request, with_ids
from relay.adapters.base import foreign_id_of, message_id_of
from relay.adapters.entrance import (
    admitted,
    check_message,
    endpoint,
    read_json,
    request_limits,
    retry_headers,
    scope_of,
)
from relay.adapters.turn_stream import TurnStream
from relay.conf import conf
from relay.delivery.http_stream import HttpStreamResponse
from relay.delivery.subscription import Subscription
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import AnswerGone, ParameterInvalid, RelayError, RunUnknown
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.protocol import json_text
from relay.protocol.event_stream import encode_event
from relay.protocol.frames import Frame, Snapshot
from relay.protocol.http_status import status_of
from relay.protocol.request_headers import LAST_EVENT_ID, TRACEPARENT

ADAPTER: Final = "ag-ui"
FROM_THE_START: Final = "-1"
MAX_RUN_SECONDS: Final = 3_600.0  # for which a run is found by its id alone


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
        await _remember(stream, body["runId"], turn_id)
    except BaseException:
        await chunks.aclose()
        raise
    stream.follow(AgUiTranslator(turn_id, thread_id=body["threadId"], run_id=body["runId"]))
    return HttpStreamResponse(stream, chunks)


@endpoint(ADAPTER, "GET", refuse)
async def replay(request: HttpRequest) -> HttpResponseBase:
    """Give the run ``runId`` from its start, or behind ``Last-Event-ID`` or else ``offset``, if that is an event's."""
    run_id = request.GET.get("runId", "")
    offset = request.GET.get("offset", FROM_THE_START)
    limits = (await lifecycle.current()).layer.limits
    known = await within_store_timeout(limits.used_for(_key(run_id))) if run_id else None
    if known is None:
        raise RunUnknown
    turn_id, _, session_id = known.partition(" ")
    cursor = request.headers.get(LAST_EVENT_ID) or ("" if offset == FROM_THE_START else offset)
    stream, chunks = await _opened(request, session_id, cursor)
    try:
        await stream.attach_named(turn_id)
    except BaseException:
        await chunks.aclose()
        raise
    stream.follow(AgUiTranslator(turn_id, thread_id=foreign_id_of(session_id), run_id=run_id))
    return HttpStreamResponse(stream, chunks)


async def _opened(
    request: HttpRequest, session_id: str, last_event_id: str
) -> tuple[RunStream, AsyncGenerator[bytes, None]]:
    """Admit the client, and open a stream at its cursor."""
    cursor = parse_event_id(last_event_id)
    if last_event_id and cursor is None:
        raise ParameterInvalid("Last-Event-ID must be one that an event had.")
    epoch = cursor.epoch if cursor is not None else ""
    stream = RunStream(session_id, *await admitted(scope_of(request), session_id, cursor_epoch=epoch), cursor)
    chunks = await stream.open()
    try:
        stream.check_cursor()
    except RelayError:
        await chunks.aclose()
        raise
    return stream, chunks


async def _remember(stream: TurnStream, run_id: str, turn_id: str) -> None:
    """Let every process find a run by its id alone; the first run of an id counts."""
    connection = stream.connection
    seconds, place = min(conf.buffer_ttl_seconds, MAX_RUN_SECONDS), f"{turn_id} {connection.session_id}"
    await within_store_timeout(connection.gateway.layer.limits.use_once(_key(run_id), seconds, place))


def _key(run_id: str) -> str:
    return f"run:{message_id_of(run_id)}"


class RunStream(TurnStream):
    """One viewer of one run: each event has an id, and those up to the cursor are left out.

    They are translated all the same, so that the messages open at the cursor are known.
    """

    def __init__(self, session_id: str, handshake: Handshake, identity: Identity, cursor: EventId | None) -> None:
        super().__init__(session_id, handshake, identity)
        self._cursor = cursor

    def check_cursor(self) -> None:
        """Refuse a cursor of a log that is gone.

        Raises:
            AnswerGone: it is of another epoch.
        """
        if self._cursor is not None and self._cursor.epoch != self._subscription.log_epoch:
            raise AnswerGone

    @property
    def takes_snapshot(self) -> bool:
        """See ``TurnStream``: a client behind a cursor has a part."""
        return self._cursor is None and super().takes_snapshot

    def encode_frame(self, frame: Frame, events: list[str]) -> bytes:
        """Write the events behind the cursor, each with its id."""
        return b"".join(self._with_ids(frame, events))

    def encode_snapshot(self, snapshot: Snapshot, events: list[str]) -> bytes:
        """Write the whole text, each event with an id."""
        ids = (EventId(snapshot.epoch, snapshot.offset, before) for before in reversed(range(len(events))))
        return b"".join(
            encode_event(event, event_id=str(event_id)) for event_id, event in zip(ids, events, strict=True)
        )

    def _with_ids(self, frame: Frame, events: list[str]) -> Iterator[bytes]:
        for event_id, event in with_ids(self._subscription.position.epoch, frame, events):
            if self._cursor is None or event_id.is_behind(self._cursor):
                yield encode_event(event, event_id=str(event_id))

    @property
    def _subscription(self) -> Subscription:
        subscription = self.connection.subscription
        assert subscription is not None  # noqa: S101 - the connection is open
        return subscription

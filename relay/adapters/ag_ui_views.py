"""AG-UI over HTTP: one ``POST`` that starts a run, or goes on with it behind ``Last-Event-ID``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from relay.adapters.ag_ui import AgUiTranslator, EventId, parse_event_id, read_request, with_ids
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
from relay.delivery.http_stream import HttpStreamResponse
from relay.delivery.subscription import Subscription
from relay.exceptions import AnswerGone, ParameterInvalid, RelayError
from relay.policies import Handshake, Identity
from relay.protocol import json_text
from relay.protocol.event_stream import encode_event
from relay.protocol.frames import Frame, Snapshot
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
    cursor = _cursor(request)
    handshake, identity = await admitted(
        scope_of(request), session_id, cursor_epoch=cursor.epoch if cursor is not None else ""
    )
    stream = RunStream(session_id, handshake, identity, cursor)
    chunks = await stream.open()
    try:
        stream.check_cursor()
        accepted = await stream.start_turn(message, request.headers.get(TRACEPARENT))
    except BaseException:
        await chunks.aclose()
        raise
    stream.follow(AgUiTranslator(accepted.turn_id, thread_id=body["threadId"], run_id=body["runId"]))
    return HttpStreamResponse(stream, chunks)


def _cursor(request: HttpRequest) -> EventId | None:
    text = request.headers.get(LAST_EVENT_ID)
    if not text:
        return None
    cursor = parse_event_id(text)
    if cursor is None:
        raise ParameterInvalid("Last-Event-ID must be one that an event had.")
    return cursor


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

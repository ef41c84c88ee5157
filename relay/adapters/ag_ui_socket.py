"""AG-UI over WebSocket: a socket of many runs, and one that replays a run and closes."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Final

from relay.adapters.ag_ui import AgUiTranslator, EventId, read_request
from relay.adapters.ag_ui_frames import PING, credential_of, encode_error, encode_event, read_frame, run_input
from relay.adapters.ag_ui_runs import Run, RunStream, find_run, offset_in, read_cursor, remember_run
from relay.adapters.base import foreign_id_of
from relay.adapters.client_frame import ClientFrame
from relay.adapters.consumer import ChatSocket
from relay.adapters.entrance import check_message, request_limits
from relay.adapters.socket_chat import Chat, SocketProtocol
from relay.adapters.socket_stream import SharedSocket, SocketStream
from relay.exceptions import RelayError
from relay.policies import Handshake, Identity
from relay.policies.handshake import parse_query
from relay.process import lifecycle
from relay.protocol.frames import CloseCode, close_code
from relay.protocol.request_headers import TRACEPARENT

REPLAY: Final = "offset"  # the parameter of an address that makes its socket a replay


class SocketRunStream(SocketStream, RunStream):
    """A run's events in envelopes."""

    def __init__(
        self, session_id: str, handshake: Handshake, identity: Identity, socket: SharedSocket, cursor: EventId | None
    ) -> None:
        super().__init__(session_id, handshake, identity, cursor)
        self._socket = socket

    def write(self, event_id: EventId, event: str) -> bytes:
        """Write one event, with a line end behind it."""
        return encode_event(event_id, event).encode() + b"\n"


class RunChat(Chat):
    """A run that is started, or is in flight and was started by the same frame."""

    awaits_abort = False  # and takes the end of the stopped run for that of the next one

    async def _serve(self, fields: dict[str, Any]) -> None:
        session_id, message = read_request(run_input(fields), request_limits())
        check_message(message)
        admitted = await self._admit(session_id, credential_of(fields))
        stream = SocketRunStream(session_id, *admitted, self._socket, None)
        async with aclosing(await stream.open()) as chunks:
            run_id = self.frame.request_id
            turn_id = (await stream.start_turn(message, self._handshake.header(TRACEPARENT))).turn_id
            await remember_run(stream.connection.gateway.layer.limits, run_id, Run(turn_id, session_id))
            await self._follow(stream, chunks, _translator(turn_id, fields["threadId"], run_id))


class ReplayChat(Chat):
    """A run that is found by its id, from its start or behind an event; the handshake's credential counts."""

    async def _serve(self, fields: dict[str, Any]) -> None:
        run_id = self.frame.request_id
        run = await find_run((await lifecycle.current()).layer.limits, run_id)
        cursor = read_cursor(offset_in(self._handshake.query), REPLAY)
        admitted = await self._admit(run.session_id, None, cursor.epoch if cursor is not None else "")
        stream = SocketRunStream(run.session_id, *admitted, self._socket, cursor)
        async with aclosing(await stream.open()) as chunks:
            stream.check_cursor()
            await stream.attach_named(run.turn_id)
            await self._follow(stream, chunks, _translator(run.turn_id, foreign_id_of(run.session_id), run_id))


def _translator(turn_id: str, thread_id: str, run_id: str) -> AgUiTranslator:
    return AgUiTranslator(turn_id, thread_id=thread_id, run_id=run_id, is_shared=True)


class ReplaySocket(ChatSocket):
    """A socket of one run. It is closed with 1000 behind the run's last event, and nowhere else: see ``joinRun``."""

    def _opened(self) -> None:
        self._start(ClientFrame(None, self._handshake.query.get("runId", ""), {}))

    async def _handle(self, text: str | None) -> None:
        """Leave a frame unread: the client sends none."""

    async def _finished(self) -> None:
        await self._close(CloseCode.NORMAL)

    async def _failed(self, chat: Chat, reason: RelayError) -> None:
        """Tell a client that has a part why there is no more, unless it is to come back; the others read the close."""
        has_part = chat.has_started or bool(offset_in(self._handshake.query))
        if has_part and not reason.temporary:
            await self._refuse(chat.frame.request_id, reason)
        code = close_code(reason)
        await self._close(CloseCode.INTERNAL if code == CloseCode.NORMAL else code, str(reason))


AG_UI: Final = SocketProtocol("ag-ui", "runId", RunChat, read_frame, encode_error, PING, ignores_repeats=True)
REPLAYS: Final = AG_UI._replace(chat=ReplayChat)


async def serve_runs(scope: Any, receive: Any, send: Any) -> None:
    """Serve one socket (ASGI; hence ``Any``)."""
    if REPLAY in parse_query(scope["query_string"]):
        await ReplaySocket(scope, send, REPLAYS).serve(receive)
    else:
        await ChatSocket(scope, send, AG_UI).serve(receive)

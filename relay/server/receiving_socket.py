"""The receiving half of a WebSocket: bytes in slices, messages with limits, pings and pongs, and flow control."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from relay.protocol.frames import CloseCode
from relay.server import limits
from relay.server.daphne_internals import Socket
from relay.server.flow import ReceiveQueue, WriteFlowControl
from relay.server.reading import ReadBuffer

logger = logging.getLogger(__name__)

PONG_START: Final = 0x8A  # the first byte of a whole pong
MASKED: Final = 0x80  # added to the length, in the second byte of a client's frame
MASKED_HEAD_BYTES: Final = 6
MAX_CONTROL_BYTES: Final = 125  # RFC 6455 §5.5


class ReceivingSocket(Socket):
    """A WebSocket that receives, no faster than its consumer handles messages.

    A subclass sets ``server`` before ``connectionMade``, and sends and closes.
    """

    application_queue: ReceiveQueue | None = None
    rests_until: float | None = None  # see the watchdog
    _last_ping_at: float  # answered or not

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self.write_flow = WriteFlowControl(on_pause=self.end_rest, on_resume=self._send_owed_pong)
        self._owed_pong: bytes | None = None
        self._pinged_at: float | None = None
        self._closing_at: float | None = None
        self._closing_bytes = 0
        self._message: bytearray | None = None  # the received part of an incomplete message
        self._message_started_at = 0.0
        self._fragments = 0
        self._control_frames = 0  # since the last check_timeouts
        self._received_messages = 0  # likewise
        self.read_buffer = ReadBuffer(self, self.server.read_scheduler)
        self.transport.resumeProducing()  # the HTTP connection's buffer may have paused it
        super().connectionMade()

    def make_receive_queue(self) -> ReceiveQueue:
        """Make the queue of messages that the consumer receives from."""
        return ReceiveQueue(pause=self.read_buffer.pauseProducing, resume=self._read_on_soon)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if self._pinged_at is not None and self._is_pong(data):
            self._take_pong()
            return
        self.end_rest()
        self.read_buffer.receive(data)
        if self._closing_at is not None and not self.read_buffer.is_discarding:
            self._closing_bytes += len(data)
            self._check_closing_bytes()

    def _is_pong(self, data: bytes) -> bool:
        """Is this one whole pong (RFC 6455 §5.2, §5.5.3) on a socket on which nothing else is received or waits?

        An idle socket receives nothing else, and to parse it would cost more than all else that a ping does.
        """
        return (
            data[0] == PONG_START
            and len(data) > 1
            and len(data) == data[1] - MASKED + MASKED_HEAD_BYTES <= MASKED_HEAD_BYTES + MAX_CONTROL_BYTES
            and self.state == self.STATE_OPEN
            and self.current_frame is None
            and not self.data
            and self._is_quiet()
        )

    def _take_pong(self) -> None:
        """Take the pong that is awaited, and let the socket rest until its next ping."""
        self._pinged_at = None
        if self.rests_until is not None and self.rests_until > self._last_ping_at + limits.PING_SECONDS:
            self.end_rest()

    def end_rest(self) -> None:
        """Be checked each second: something happens that may have a time limit, or is counted by the second."""
        self.server.watchdog.wake(self)

    @property
    def is_held(self) -> bool:
        """Must received bytes wait: for the handshake's end, the consumer to catch up, or other clients?"""
        return self.state == self.STATE_CONNECTING or self._is_behind()

    @property
    def slice_bytes(self) -> int:
        """The rest of a large frame costs as little as a few small frames."""
        if self.current_frame is None:
            return limits.SOCKET_SLICE_BYTES
        rest: int = self.current_frame.length - self.current_frame_masker.pointer()
        return max(limits.SOCKET_SLICE_BYTES, min(rest, limits.PAYLOAD_SLICE_BYTES))

    def handle_slice(self, data: bytes) -> None:
        """Handle some received bytes."""
        self.parse(data)

    def consumeData(self) -> None:  # noqa: N802 - autobahn's name
        """Handle a slice, up to where the consumer falls behind; nothing after a violation (RFC 6455 §7.1.7)."""
        if self.failedByMe or self.state == self.STATE_CLOSED:
            self.data = b""
        else:
            while not self._is_behind() and self.processData() and self.state != self.STATE_CLOSED:
                if self.failedByMe:
                    self.data = b""

    def _is_behind(self) -> bool:
        queue = self.application_queue
        return self.state == self.STATE_OPEN and (self._is_over_rate() or (queue is not None and queue.is_paused))

    def _is_quiet(self) -> bool:
        """Does nothing wait: no received bytes, no part of a message, nothing for the client or the consumer?"""
        return not (
            self.write_flow.is_paused or len(self.read_buffer) or self._message is not None or self._is_behind()
        )

    def _is_over_rate(self) -> bool:
        """Has the client sent as many messages as may be handled until the next ``check_timeouts``?"""
        return self.server.max_messages is not None and self._received_messages >= self.server.max_messages

    def _read_on_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._pinged_at is not None:
            self._pinged_at = time.monotonic()  # its pong may be among the unread bytes
        self._message_started_at = time.monotonic()
        try:
            self.consumeData()
        except Exception:
            logger.exception("%r: received bytes could not be handled", self)
            self.abort()
        if not self._is_behind():
            self.read_buffer.resumeProducing()

    def _start_second(self) -> None:
        """Reset what is counted by the second, and read on where that was the reason not to."""
        self._control_frames = 0
        was_over_rate, self._received_messages = self._is_over_rate(), 0
        if was_over_rate and self.state == self.STATE_OPEN:
            self._read_on()

    def _check_closing_bytes(self) -> None:
        """Stop looking for the client's close frame after a number of other bytes."""
        if self._closing_bytes > limits.CLOSING_BYTES:
            self._end_reading()

    def _end_reading(self) -> None:
        self.read_buffer.discard()
        self.transport.loseWriteConnection()

    # A message, as autobahn parses it. (Its own lists hold an object for each piece, however small.)

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: N802, N803 - autobahn's names
        super().onMessageBegin(isBinary)
        self._message = bytearray()
        self._message_started_at = time.monotonic()
        self._fragments = 0

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 - autobahn's name
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments > limits.MAX_FRAGMENTS:
            self.fail_connection(CloseCode.POLICY_VIOLATION, "a message has too many fragments")

    def onMessageFrameData(self, payload: bytes) -> None:  # noqa: N802 - autobahn's name
        if self._message is not None and not self.failedByMe:
            self._message += payload

    def onMessageFrameEnd(self) -> None:  # noqa: N802 - autobahn's name
        pass

    def onMessageEnd(self) -> None:  # noqa: N802 - autobahn's name
        message, self._message = self._message, None
        if message is not None and not self.failedByMe:
            self.onMessage(bytes(message), self.message_is_binary)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803 - autobahn's names
        self._received_messages += 1
        if self.application_queue is not None and self.state == self.STATE_OPEN:
            content = {"bytes": payload} if isBinary else {"text": payload.decode()}
            self.application_queue.put_nowait({"type": "websocket.receive", **content})

    def onPing(self, payload: bytes) -> None:  # noqa: N802 - autobahn's name
        self._count_control_frame()
        self._owed_pong = payload  # RFC 6455 §5.5.3: of several pings, the last is enough
        if not self.write_flow.is_paused:
            self._send_owed_pong()

    def _send_owed_pong(self) -> None:
        payload, self._owed_pong = self._owed_pong, None
        if payload is not None:
            self.sendPong(payload)

    def onPong(self, payload: bytes) -> None:  # noqa: N802 - autobahn's name
        self._count_control_frame()
        self._pinged_at = None

    def _count_control_frame(self) -> None:
        self._control_frames += 1
        if self._control_frames > limits.MAX_CONTROL_FRAMES and self.state == self.STATE_OPEN:
            self.fail_connection(CloseCode.POLICY_VIOLATION, "too many pings or pongs")

"""The server's limits, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

# A client that does not read. (The bound of what waits for it, 64 KiB, is Twisted's ``bufferSize``.)
STALLED_SECONDS: Final = 45.0  # without one byte read; above the consumer's own limit, which tells the client why
PING_SECONDS: Final = 20.0  # proxies drop a connection that is silent for 60 s
PONG_SECONDS: Final = 30.0  # a phone has left the tunnel by then
MESSAGE_SECONDS: Final = 60.0  # to receive a whole message; a pong behind it may be that much later

# A consumer that falls behind.
MAX_WAITING_BYTES: Final = 65_536  # of one socket's messages; above it the socket is not read
MESSAGE_OVERHEAD_BYTES: Final = 512  # of a waiting message in memory, so that many small ones count too
HUNG_SECONDS: Final = 60.0  # a consumer that received no message for so long while some waited hangs

# Sizes.
MIN_MESSAGE_LIMIT_BYTES: Final = 1_048_576  # the consumer refuses large messages in words; this limit ends the socket
BODY_ROOM_BYTES: Final = 1_048_576  # of an HTTP request beyond MAX_MESSAGE_BYTES: the admin's forms
TRAILER_BYTES: Final = 1_024  # behind a chunked body; nothing reads them
MAX_REASON_BYTES: Final = 123  # RFC 6455 §5.5: a control frame has 125, two are the code

# Bytes of no use that a client may send.
HTTP_SLICE_BYTES: Final = 512  # handled before the clock is read: at most 85 chunks of a body
SOCKET_SLICE_BYTES: Final = 128  # at most 21 frames
PAYLOAD_SLICE_BYTES: Final = 16_384  # within one frame, which costs little
MAX_FRAGMENTS: Final = 4_096  # of one message: a mebibyte in pieces of 256 bytes
MAX_CONTROL_FRAMES: Final = 256  # pings and pongs within WATCH_SECONDS; a client needs one in some seconds
MAX_MESSAGES: Final = 64  # of one socket within WATCH_SECONDS; each costs far more than its bytes, so others wait
CLOSING_BYTES: Final = 4_096  # handled after our close frame, to find the client's
DISCARD_BYTES: Final = 1_048_576  # read and dropped after that, or after a refusal

# Times of a request: against clients that keep a connection busy by sending a byte now and then.
HEAD_SECONDS: Final = 15.0
BODY_SECONDS: Final = 60.0

# Ends.
ACCEPT_SECONDS: Final = 20.0  # the consumer's, for accept or close
CLOSE_SECONDS: Final = 5.0  # the client's, for its part of the closing handshake
ENDING_SECONDS: Final = 10.0  # the consumer's, after its client has gone
FIRST_REQUEST_SECONDS: Final = 1.0  # for a client that has just connected, to send a request before the process ends
STOP_SECONDS: Final = 2.0  # to close the connections to agent and store
LINGER_SECONDS: Final = 60.0  # after that, for a client that reads the close frame slowly; it holds 64 KiB at most
THREADS_SECONDS: Final = 3.0  # for threads that hang, for example in a locked database, once all else has ended
HURRIED_CLOSE_SECONDS: Final = 1.0  # as CLOSE_SECONDS, after a second signal

BACKLOG: Final = 1_024  # connections that wait to be accepted, for example when all clients come back at once
WATCH_SECONDS: Final = 1.0

"""The server's limits, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

# A client that is behind. (How much may wait for it, 64 KiB, is Twisted's ``bufferSize``.)
STALLED_SECONDS: Final = 45.0  # not one byte taken for so long; above the consumer's own limit, which says it better
PING_SECONDS: Final = 20.0  # proxies drop a connection that is silent for 60 s
PONG_SECONDS: Final = 30.0  # a phone in a tunnel is back by then
MESSAGE_SECONDS: Final = 60.0  # for a whole message to come in; a pong behind it may come that much later

# A consumer that is behind.
MAX_WAITING_BYTES: Final = 65_536  # of one socket's messages; beyond it nothing more is read
MESSAGE_OVERHEAD_BYTES: Final = 512  # of a waiting message in memory, so that many small ones count too
HUNG_SECONDS: Final = 60.0  # a consumer that takes no message for so long, while some wait, never will

# Sizes.
MIN_MESSAGE_LIMIT_BYTES: Final = 1_048_576  # the consumer refuses large messages in words; this limit ends the socket
BODY_ROOM_BYTES: Final = 1_048_576  # of an HTTP request beyond MAX_MESSAGE_BYTES: the admin's forms
MAX_REASON_BYTES: Final = 123  # RFC 6455 §5.5: a control frame has 125, two are the code

# What a client may send that is no use to anybody.
HTTP_SLICE_BYTES: Final = 512  # handled before the clock is looked at: at most 85 chunks of a body
SOCKET_SLICE_BYTES: Final = 128  # at most 21 frames
PAYLOAD_SLICE_BYTES: Final = 16_384  # within one frame, which is little work
MAX_FRAGMENTS: Final = 4_096  # of one message: a mebibyte in pieces of 256 bytes
MAX_CONTROL_FRAMES: Final = 256  # pings and pongs within WATCH_SECONDS; a client needs one in some seconds
CLOSING_BYTES: Final = 4_096  # handled after our close frame, to find the client's
DISCARD_BYTES: Final = 1_048_576  # read and dropped after that, or after a refusal

# Times of a request: against clients that keep a connection busy by sending a byte now and then.
HEAD_SECONDS: Final = 15.0
BODY_SECONDS: Final = 60.0

# Ends.
ACCEPT_SECONDS: Final = 20.0  # the consumer's, for accept or close
CLOSE_SECONDS: Final = 5.0  # the client's, for its part of the closing handshake
ENDING_SECONDS: Final = 10.0  # the consumer's, after its client has gone
FIRST_REQUEST_SECONDS: Final = 1.0  # a client's that has just connected, to ask before the process ends
STOP_SECONDS: Final = 2.0  # for letting go of agent and store
LINGER_SECONDS: Final = 60.0  # after that, for a client that is slow to read why; it holds 64 KiB at most
THREADS_SECONDS: Final = 3.0  # for threads that hang, say in a locked database, once all else has ended
HURRIED_CLOSE_SECONDS: Final = 1.0  # as CLOSE_SECONDS, after a second signal

BACKLOG: Final = 1_024  # connections that wait to be accepted: a page full of clients that come back at once
WATCH_SECONDS: Final = 1.0

"""The error tree: one class for each case that a caller can act on.

``code`` is sent to ``gateway.v1`` clients, and ``str(error)`` is the sentence that any client may read. So no error
here holds an address, a key or model output; its ``__cause__`` has the details.
"""

from __future__ import annotations

from typing import ClassVar


class RelayError(Exception):
    """A failure that a client is told of.

    ``temporary`` means that the same message, sent again after ``retry_after_seconds``, may succeed.
    """

    code: ClassVar[str] = "internal"
    temporary: ClassVar[bool] = False
    sentence: ClassVar[str] = "Something went wrong in the gateway. Send your message again."
    retry_after_seconds: float = 1.0

    def __str__(self) -> str:
        return self.sentence


# Messages and requests that are refused.


class ClientMessageInvalid(RelayError):
    """A frame from a client that is not a JSON object of a known type with valid fields."""

    code = "bad_request"
    sentence = "Invalid JSON message"


class ParameterInvalid(RelayError):
    """A parameter of a request is invalid; ``problem`` says which, and why."""

    code = "bad_request"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"Invalid request: {self.problem}"


class ClientMessageTooLarge(RelayError):
    """A frame from a client above ``MAX_MESSAGE_BYTES``."""

    code = "message_too_large"

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(max_message_bytes)
        self.max_message_bytes = max_message_bytes

    def __str__(self) -> str:
        return f"The message is too large: at most {self.max_message_bytes:,} bytes are allowed. Send a shorter one."


class RateLimited(RelayError):
    """A client sends messages faster than its limit."""

    code = "rate_limited"
    temporary = True
    sentence = "Too many messages at once. Wait a moment, then send it again."

    def __init__(self, retry_after_seconds: float = 1.0) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class TooManyConnections(RateLimited):
    """A client, or a session, has reached its limit of open connections."""

    sentence = "Too many connections are open. Close one, or connect again later."

    def __init__(self) -> None:
        super().__init__(10.0)  # connections do not end as fast as messages are answered


class ConnectsTooOften(RateLimited):
    """A client address opens connections more often than its limit."""

    sentence = "Connections are opened too often. Wait a moment, then connect again."


# Access that is refused, and reasons to end an open connection.


class Unauthorized(RelayError):
    """A client's credential is missing, wrong, used or expired."""

    code = "unauthorized"
    sentence = "Your access is missing, not valid, or has expired. Sign in again."


class Forbidden(RelayError):
    """The client is authenticated, and lacks the permission."""

    code = "forbidden"
    sentence = "You may not open this conversation."


class Idle(RelayError):
    """A socket had no message or frame for ``IDLE_TIMEOUT``."""

    code = "idle"
    sentence = "Nothing was said for a long time. Connect again when you need to."


# Refusals of the session layer.


class SessionBusy(RelayError):
    """A message with ``on_busy: reject`` came while another was being answered."""

    code = "session_busy"
    temporary = True
    sentence = "Another message is being answered. Send yours again when it is done."


class QueueFull(RelayError):
    """The session has ``MAX_QUEUE`` messages waiting."""

    code = "queue_full"
    temporary = True
    sentence = "Too many messages are waiting in this conversation. Send yours again in a moment."


class IdempotencyConflict(RelayError):
    """A ``client_message_id`` that was used for another message."""

    code = "idempotency_conflict"
    sentence = "This client_message_id was already used for another message. Use a new one."


class AlreadyDecided(RelayError):
    """A message answers what the agent has asked; another message has done so before, or it has expired."""

    code = "already_decided"
    sentence = "This was decided before, or its time is over."


class AnswerGone(RelayError):
    """A message that was answered before, and whose answer is not kept any more, or not as the client has it."""

    code = "answer_gone"
    sentence = "This message was answered before, and its answer is no longer kept. Load the conversation again."


class RunUnknown(RelayError):
    """A run that is requested by its id alone, and that no process has seen, or not for a long time."""

    code = "run_unknown"
    sentence = "This run is not known, or is over for long. Load the conversation again."


class StoreUnavailable(RelayError):
    """The store could not take the message; ``reason`` is for operators, without an address or a key."""

    code = "store_unavailable"
    temporary = True
    sentence = "The conversation cannot be stored at the moment. Send your message again shortly."

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class CredentialUncheckable(StoreUnavailable):
    """A credential cannot be checked: the keys or the service to check it with cannot be reached."""

    sentence = "Your access cannot be checked at the moment. Connect again shortly."


class NotOwner(Forbidden):
    """The session belongs to another subject."""

    sentence = "This conversation belongs to somebody else."


class LeaseLost(RelayError):
    """Another worker has taken the turn over, or the session is gone: write nothing more."""

    code = "interrupted"
    temporary = True
    sentence = "The answer was taken over by another worker."


class TurnCancelled(RelayError):
    """The turn was cancelled: only its terminal frame may still be written."""

    code = "cancelled"
    sentence = "The answer was stopped."


class SessionDeleted(RelayError):
    """The session was erased while it was being watched."""

    code = "session_deleted"
    sentence = "This conversation was deleted."


class TooSlow(RelayError):
    """A plain viewer was overtaken by the trimming of the log: its dialect cannot report the gap."""

    code = "too_slow"
    sentence = "This connection is too slow for the answer. Connect again."


class Kicked(RelayError):
    """An operator disconnected the client."""

    code = "kicked"
    sentence = "You were disconnected by an operator."


# Failures that end a turn without an answer.


class UpstreamError(RelayError):
    """The agent reported a failure, or answered with a status other than 2xx."""

    code = "upstream_error"

    def __init__(self, sentence: str = "The agent could not answer this message.") -> None:
        super().__init__(sentence)
        self._sentence = sentence

    def __str__(self) -> str:
        return self._sentence


class UpstreamUnavailable(UpstreamError):
    """The agent takes no messages now: a refused connection, or 429, 502, 503, 504."""

    code = "upstream_unavailable"
    temporary = True

    def __init__(self, retry_after_seconds: float = 1.0) -> None:
        super().__init__("The agent is not available at the moment. Try again shortly.")
        self.retry_after_seconds = retry_after_seconds


class UpstreamTimeout(UpstreamError):
    """The agent was silent for longer than ``REQUEST_TIMEOUT``."""

    code = "upstream_timeout"
    temporary = True

    def __init__(self, silence_seconds: float) -> None:
        super().__init__(
            f"The agent was silent for {silence_seconds:g} seconds, so its answer was given up. "
            "Send your message again."
        )


class UpstreamEof(UpstreamError):
    """The agent's answer broke off before its final event."""

    code = "upstream_eof"

    def __init__(self) -> None:
        super().__init__("The agent's answer broke off before its end. Send your message again.")


class UpstreamProtocol(UpstreamError):
    """The agent's answer violates the protocol."""

    code = "upstream_protocol"


class TurnTimeout(RelayError):
    """The turn took longer than ``TURN_TIMEOUT``."""

    code = "turn_timeout"
    sentence = "The answer took too long and was stopped. Send your message again."


class Interrupted(RelayError):
    """The worker that ran the turn died; the agent is not asked a second time."""

    code = "interrupted"
    temporary = True
    sentence = "The answer was interrupted. Send your message again."


class BufferLost(RelayError):
    """The store forgot the log while the turn was running."""

    code = "buffer_lost"
    sentence = "The conversation's store lost its data, so this answer could not be completed. Send your message again."


class ShuttingDown(RelayError):
    """The server is stopping."""

    code = "shutting_down"
    temporary = True
    sentence = "The server is restarting. Send your message again."


class ServerRestart(RelayError):
    """The server is stopping: clients are disconnected, and come back to another process, or to its successor."""

    code = "server_restart"
    temporary = True
    sentence = "The server is restarting. Connect again."

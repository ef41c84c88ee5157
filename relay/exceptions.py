"""The error tree: one class for each case that a caller can act on.

``code`` is sent to ``gateway.v1`` clients, and ``str(error)`` is the sentence that any client may read, in the language
of the settings: ``locale`` has the translations. So no error here holds an address, a key or model output; its
``__cause__`` has the details.
"""

from __future__ import annotations

from typing import ClassVar

from relay.translations import translated

# For code of other projects: docs/extending.md.
__all__ = [
    "AlreadyDecided",
    "ClientMessageInvalid",
    "ClientMessageTooLarge",
    "Forbidden",
    "IdempotencyConflict",
    "LeaseLost",
    "NotOwner",
    "ParameterInvalid",
    "QueueFull",
    "RelayError",
    "SessionBusy",
    "StoreUnavailable",
    "TurnCancelled",
    "Unauthorized",
]


class RelayError(Exception):
    """A failure that a client is told of.

    ``temporary`` means that the same message, sent again after ``retry_after_seconds``, may succeed.
    """

    code: ClassVar[str] = "internal"
    temporary: ClassVar[bool] = False
    sentence: ClassVar[str] = "Something went wrong in the gateway. Try again."
    retry_after_seconds: float = 1.0

    def __str__(self) -> str:
        return translated(self.sentence)


def size(number: int) -> str:
    """Write a number of bytes for people: ``256 KB``, of 1,024 bytes each; one that is not even in bytes."""
    for factor, unit in ((1_048_576, "MB"), (1_024, "KB")):
        if number >= factor and number % factor == 0:
            return f"{number // factor:,} {unit}"
    return f"{number:,} bytes"


# Messages and requests that are refused.


class ClientMessageInvalid(RelayError):
    """A frame from a client that is not a JSON object of a known type with valid fields."""

    code = "bad_request"
    sentence = "Invalid JSON message"


class ParameterInvalid(RelayError):
    """A parameter of a request is invalid; ``problem`` says which, and why."""

    code = "bad_request"
    sentence = "Invalid request: {problem}"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return super().__str__().format(problem=self.problem)


class ClientMessageTooLarge(RelayError):
    """A frame from a client above ``MAX_MESSAGE_BYTES``."""

    code = "message_too_large"
    sentence = "This message is too long (limit {limit})."

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(max_message_bytes)
        self.max_message_bytes = max_message_bytes

    def __str__(self) -> str:
        return super().__str__().format(limit=size(self.max_message_bytes))


class RateLimited(RelayError):
    """A client sends messages faster than its limit."""

    code = "rate_limited"
    temporary = True
    sentence = "You are sending messages too quickly. Wait a moment, then try again."

    def __init__(self, retry_after_seconds: float = 1.0) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class TooManyConnections(RateLimited):
    """A client, or a session, has reached its limit of open connections."""

    sentence = "Too many connections are open. Close one, or try again later."

    def __init__(self) -> None:
        super().__init__(10.0)  # connections do not end as fast as messages are answered


class ConnectsTooOften(RateLimited):
    """A client address opens connections more often than its limit."""

    sentence = "Too many connection attempts. Wait a moment, then try again."


# Access that is refused, and reasons to end an open connection.


class Unauthorized(RelayError):
    """A client's credential is missing, wrong, used or expired."""

    code = "unauthorized"
    sentence = "You are signed out or your access has expired. Sign in again."


class Forbidden(RelayError):
    """The client is authenticated, and lacks the permission."""

    code = "forbidden"
    sentence = "You do not have access to this conversation."


class Idle(RelayError):
    """A socket had no message or frame for ``IDLE_TIMEOUT``."""

    code = "idle"
    sentence = "Disconnected after a long time without activity."


# Refusals of the session layer.


class SessionBusy(RelayError):
    """A message with ``on_busy: reject`` came while another was being answered."""

    code = "session_busy"
    temporary = True
    sentence = "Another message is being answered. Try again when it is done."


class QueueFull(RelayError):
    """The session has ``MAX_QUEUE`` messages waiting."""

    code = "queue_full"
    temporary = True
    sentence = "Too many messages are waiting in this conversation. Try again in a moment."


class IdempotencyConflict(RelayError):
    """A ``client_message_id`` that was used for another message."""

    code = "idempotency_conflict"
    sentence = "This client_message_id was already used for a different message. Use a new one."


class AlreadyDecided(RelayError):
    """A message answers what the agent has asked; another message has done so before, or it has expired."""

    code = "already_decided"
    sentence = "This request was already answered, or it has expired."


class AnswerGone(RelayError):
    """A message that was answered before, and whose answer is not kept any more, or not as the client has it."""

    code = "answer_gone"
    sentence = "This message was already answered, and the answer is no longer available. Reload the conversation."


class RunUnknown(RelayError):
    """A run that is requested by its id alone, and that no process has seen, or not for a long time."""

    code = "run_unknown"
    sentence = "This run is unknown, or ended too long ago. Reload the conversation."


class StoreUnavailable(RelayError):
    """The store could not take the message; ``reason`` is for operators, without an address or a key."""

    code = "store_unavailable"
    temporary = True
    sentence = "The conversation cannot be saved right now. Try again shortly."

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class CredentialUncheckable(StoreUnavailable):
    """A credential cannot be checked: the keys or the service to check it with cannot be reached."""

    sentence = "Your access cannot be verified right now. Try again shortly."


class NotOwner(Forbidden):
    """The session belongs to another subject."""

    sentence = "This conversation belongs to another user."


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
    sentence = "Your connection is too slow for this answer. Reconnect to continue."


class Kicked(RelayError):
    """An operator disconnected the client."""

    code = "kicked"
    sentence = "An operator disconnected you."


# Failures that end a turn without an answer.


class UpstreamError(RelayError):
    """The agent reported a failure, in its own words if it has any, or answered with a status other than 2xx."""

    code = "upstream_error"
    sentence = "The agent could not answer this message."

    def __init__(self, words: str = "") -> None:
        super().__init__(words)
        self._words = words

    def __str__(self) -> str:
        return self._words or super().__str__()


class UpstreamUnavailable(UpstreamError):
    """The agent takes no messages now: a refused connection, or 429, 502, 503, 504."""

    code = "upstream_unavailable"
    temporary = True
    sentence = "The agent is unavailable right now. Try again shortly."

    def __init__(self, retry_after_seconds: float = 1.0) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class UpstreamTimeout(UpstreamError):
    """The agent was silent for longer than ``REQUEST_TIMEOUT``."""

    code = "upstream_timeout"
    temporary = True
    sentence = "The agent stopped responding ({seconds} s). Try again."

    def __init__(self, silence_seconds: float) -> None:
        super().__init__()
        self._silence_seconds = silence_seconds

    def __str__(self) -> str:
        return super().__str__().format(seconds=f"{self._silence_seconds:g}")


class UpstreamEof(UpstreamError):
    """The agent's answer was cut off before its final event."""

    code = "upstream_eof"
    sentence = "The answer was cut off. Try again."


class UpstreamProtocol(UpstreamError):
    """The agent's answer violates the protocol, or a limit."""

    code = "upstream_protocol"


class AnswerNotUnderstood(UpstreamProtocol):
    """All events of an answer were skipped."""

    sentence = "Nothing in the agent's answer could be understood."


class AnswerTooLong(UpstreamProtocol):
    """The events of an answer have more than ``MAX_TURN_BYTES``."""

    sentence = "The agent's answer is too long."


class AgentEventTooLarge(UpstreamProtocol):
    """One event has more than ``MAX_EVENT_BYTES``."""

    sentence = "The agent sent an event that is too large."


class NoHttp(UpstreamProtocol):
    """The agent's response is no HTTP."""

    sentence = "The agent did not answer in HTTP."


class NoEventStream(UpstreamProtocol):
    """The agent's response has no event stream."""

    sentence = "The agent did not answer with an event stream."


class TooManyToolCalls(UpstreamProtocol):
    """An answer has more tool calls under way than any model means."""

    sentence = "The agent made too many tool calls at once."


class TurnTimeout(RelayError):
    """The turn took longer than ``TURN_TIMEOUT``."""

    code = "turn_timeout"
    sentence = "The answer took too long and was stopped. Try again."


class Interrupted(RelayError):
    """The worker that ran the turn died; the agent is not asked a second time."""

    code = "interrupted"
    temporary = True
    sentence = "The answer was interrupted. Try again."


class BufferLost(RelayError):
    """The store forgot the log while the turn was running."""

    code = "buffer_lost"
    sentence = "The server lost the data of this conversation, so the answer could not be completed. Try again."


class ShuttingDown(RelayError):
    """The server is stopping."""

    code = "shutting_down"
    temporary = True
    sentence = "The server is restarting. Try again in a moment."


class ServerRestart(RelayError):
    """The server is stopping: clients are disconnected, and come back to another process, or to its successor."""

    code = "server_restart"
    temporary = True
    sentence = "The server is restarting. Reconnect in a moment."

"""How long a process may take to end."""

from relay import tasks
from relay.process import drain, lifecycle
from relay.server import limits
from relay.transcripts import writer

_CLOSE_SECONDS = (
    limits.CLOSE_SECONDS
    + limits.HURRIED_CLOSE_SECONDS
    + limits.STOP_SECONDS
    + tasks.CANCEL_SECONDS
    + limits.THREADS_SECONDS
)
_DRAIN_END_SECONDS = drain.LEAVE_SECONDS + writer.FLUSH_SECONDS  # if each part takes as long as it may
_GIVEN_UP_SECONDS = lifecycle.DRAIN_END_SECONDS + tasks.CANCEL_SECONDS  # if a part stands still
END_SECONDS = max(_DRAIN_END_SECONDS, _GIVEN_UP_SECONDS) + _CLOSE_SECONDS  # after the drain time

"""How long a process may take to end."""

from relay.process import drain
from relay.server import limits
from relay.transcripts import writer

END_SECONDS = (  # after the drain, if everything takes as long as it may
    drain.LEAVE_SECONDS
    + writer.FLUSH_SECONDS
    + limits.CLOSE_SECONDS
    + limits.HURRIED_CLOSE_SECONDS
    + limits.STOP_SECONDS
    + limits.THREADS_SECONDS
)

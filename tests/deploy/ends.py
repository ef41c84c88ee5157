"""How long a process may take to end."""

from relay import drain, transcripts
from relay.server import limits

END_SECONDS = (  # after the drain, if everything takes as long as it may
    drain.LEAVE_SECONDS
    + transcripts.FLUSH_SECONDS
    + limits.CLOSE_SECONDS
    + limits.HURRIED_CLOSE_SECONDS
    + limits.STOP_SECONDS
)

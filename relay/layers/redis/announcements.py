"""Reads the announcements that the scripts publish on a session's channel, for the session's feed."""

from __future__ import annotations

from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.frames import SEPARATOR, decode_all


def deliver(announcement: bytes, feed: SessionFeed) -> None:
    """Deliver an announcement to a session's feed. Each names the epoch of the log that it is about.

    Frames are left out while an append of this process is in flight: they are its own, and its reply has them too.

    Raises:
        Exception: no script of ours published it; of any kind that decoding raises.
    """
    if feed.is_appending and not announcement.startswith(b"!"):
        return
    head, _, rest = announcement.partition(b"\n")
    if head.startswith(b"!"):
        epoch, _, argument = rest.decode().partition("\n")
    else:
        epoch = head.decode()
    if not epoch:
        raise ValueError("an announcement without an epoch")
    match head:
        case b"!cancel":
            feed.hear_cancelled(epoch, argument)
        case b"!deleted":
            feed.hear_deleted(epoch)
        case b"!epoch":
            feed.hear_epoch(epoch)
        case _:
            _deliver_frames(feed, epoch, rest)


def _deliver_frames(feed: SessionFeed, epoch: str, rest: bytes) -> None:
    after, _, data = rest.partition(b"\n")
    offset = int(after)
    position = feed.position
    if position is not None and position.epoch == epoch and offset + data.count(SEPARATOR) < position.offset:
        return  # of this process's own append, or late
    feed.hear(epoch, offset, decode_all(data.split(SEPARATOR), offset))

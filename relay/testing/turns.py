"""Helpers that speak in turns and frames."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from relay.exceptions import Interrupted
from relay.layers.values import NewTurn, new_id
from relay.protocol import frames, json_text
from relay.protocol.cursor import Cursor
from relay.protocol.frames import FrameKind, ReplayGap

LIMIT_SECONDS = 60  # of every wait; a test that needs so long has failed
LEASE_SECONDS = 60.0  # by the injected clock; by the real one, how long a call waits for a store that stands still
S = "session"


def message(content="hi", *, client_message_id=None, **options):
    """A client's message, as the gateway hands it to ``enqueue``."""
    body = {"type": "user_message", "content": content}
    if client_message_id is not None:
        body["client_message_id"] = client_message_id
    options.setdefault("turn_id", new_id())
    return NewTurn(body=json_text.encode(body), client_message_id=client_message_id, **options)


async def enqueue(layer, content="hi", *, session_id=S, **options):
    return await layer.enqueue(session_id, message(content, **options))


async def claim(layer, session_id=S, claim_id=None):
    return await layer.claim(session_id, claim_id or new_id())


async def start(layer, content="hi", *, session_id=S, **options):
    """Put a message in the queue and claim the session."""
    await enqueue(layer, content, session_id=session_id, **options)
    turn = await claim(layer, session_id)
    assert turn is not None
    return turn


def tokens(turn, *texts):
    return [frames.token(turn.turn_id, text) for text in texts]


async def say(layer, turn, *texts):
    """Append tokens. Returns the last one's offset."""
    return await layer.append(turn, tokens(turn, *texts))


async def stop(layer, turn):
    """End a turn as an agent does that is done."""
    return await layer.finish(turn, frames.final(turn.turn_id))


async def interrupted(layer, turn):
    """End a turn whose worker died."""
    return await layer.finish(turn, frames.error(turn.turn_id, Interrupted()))


async def answer(layer, content="hi", *texts, session_id=S, **options):
    """A whole turn. Returns it."""
    turn = await start(layer, content, session_id=session_id, **options)
    if texts:
        await say(layer, turn, *texts)
    await stop(layer, turn)
    return turn


async def run_queue(layer, session_id=S):
    """Answer what is queued. Returns the turns' contents, in the order in which they ran."""
    ran = []
    while (turn := await claim(layer, session_id)) is not None:
        ran.append(turn.message["content"])
        await stop(layer, turn)
    return ran


def shown(frame):
    """A frame in few words."""
    fields = json_text.decode(frame.v1)
    match frame.kind:
        case FrameKind.USER_MESSAGE:
            return f"user:{fields['content']}"
        case FrameKind.TOKEN:
            return f"token:{fields['token']}"
        case FrameKind.FINAL:
            return f"final:{fields['finish_reason']}"
        case FrameKind.ERROR:
            return f"error:{fields['code']}"
        case _:
            return f"event:{fields['type']}"


async def whole_log(layer, session_id=S):
    """Every frame that is kept."""
    state = await layer.ensure(session_id)
    return await layer.read(session_id, Cursor(state.epoch, state.oldest - 1), 1_000_000)


async def log(layer, session_id=S):
    """Every frame that is kept, in few words."""
    return [shown(frame) for frame in await whole_log(layer, session_id)]


async def cursor_at(layer, offset, session_id=S):
    return Cursor((await layer.ensure(session_id)).epoch, offset)


async def gap_at(layer, cursor, session_id=S):
    """Read after a position that cannot be served. Returns the snapshot."""
    try:
        await layer.read(session_id, cursor, 100)
    except ReplayGap as gap:
        return gap.snapshot
    raise AssertionError("no gap was reported")


def same_frames(appended):
    """The frames of an append as its worker still holds them when no reply came."""
    return [msgspec.structs.replace(frame, offset=0) for frame in appended]


async def append_twice(layer, turn, appended):
    """Append; the reply is lost, so repeat. Returns both results."""
    number = turn.append_number
    repeat = same_frames(appended)
    first = await layer.append(turn, appended)
    turn.append_number = number
    return first, await layer.append(turn, repeat)


async def kept(layer, *viewers):
    """Keep viewers attached. Returns the answers, in their order; each comes once."""
    answers = {}

    def take(place, newest):
        assert place not in answers
        answers[place] = newest

    await layer.keep_attached(viewers, take)
    assert sorted(answers) == list(range(len(viewers)))
    return [answers[place] for place in range(len(viewers))]


async def stay(layer, viewer):
    """Make a heartbeat, as a connection does. Returns the newest position if ``attach`` was not needed."""
    (newest,) = await kept(layer, viewer)
    if newest is None:
        await layer.attach(viewer.session_id, viewer.name, viewer.subject)
    return newest


async def settled(layer):
    """Let a tail come to its wait: a call of the store, then a few iterations of the event loop."""
    await layer.ensure(S)
    for _ in range(5):
        await asyncio.sleep(0)


class Tail:
    """A viewer: collects what a tail gives, until told to stop.

    With ``takes`` it is a ``FrameSink`` too, and accepts frames; a function says each time whether it does. ``taken``
    are their offsets.
    """

    def __init__(self, layer, after, session_id=S, *, takes=False, subject=None):
        self.frames = []
        self.taken = []
        self._takes = takes if callable(takes) else lambda: True
        sink = self if takes else None
        self.error = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow(layer.tail(session_id, after, sink, subject)))

    async def _follow(self, tail):
        try:
            async with contextlib.aclosing(tail) as batches:
                async for batch in batches:
                    self.frames += batch
                    self._changed.set()
        except Exception as exc:
            self.error = exc
        finally:
            self._changed.set()

    def push(self, frames):
        """See ``FrameSink``."""
        if not self._takes():
            return False
        self.frames += frames
        self.taken += [frame.offset for frame in frames]
        self._changed.set()
        return True

    @property
    def shown(self):
        return [shown(frame) for frame in self.frames]

    @property
    def offsets(self):
        return [frame.offset for frame in self.frames]

    async def until(self, condition):
        """Wait until ``condition()`` holds."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def has(self, count):
        """Wait for so many frames in all."""
        await self.until(lambda: len(self.frames) >= count or self._task.done())
        assert len(self.frames) == count, self.error

    async def raises(self):
        """Wait for the error that ends this tail."""
        await self.until(lambda: self._task.done())
        return self.error

    def cancel(self):
        self._task.cancel()

    async def close(self):
        self.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@contextlib.asynccontextmanager
async def tailing(layer, after, session_id=S, **options):
    tail = Tail(layer, after, session_id, **options)
    try:
        yield tail
    finally:
        await tail.close()

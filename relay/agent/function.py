"""A Python function of the operator's as the agent, in this process: no second service, no HTTP.

    async def answer(message, session):
        yield "Hello"

``message`` is the client's (``{"type": "user_message", "content": …}``), ``session`` a ``Session``. The function yields
texts (tokens) and objects (events of the gateway's own agent protocol). It runs in a task of its own, which ends with
the turn.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

from relay.agent.answer import Agent, Answer, History, no_history
from relay.agent.failures import MAX_WORDS_CHARACTERS
from relay.agent.protocols.agent import AgentEvents
from relay.agent.protocols.base import PastTurn
from relay.agent.protocols.run import MarkedRun, is_later
from relay.agent.requests import redact_answer
from relay.conf import conf
from relay.exceptions import AgentEventTooLarge, AnswerTooLong, Interrupted, RelayError, UpstreamEof
from relay.layers.live import FrameSink
from relay.layers.values import Turn
from relay.protocol.frames import Frame

__all__ = ["AgentError", "AnswerFunction", "Marked", "PastTurn", "Session"]

logger = logging.getLogger(__name__)

CURSOR: Final = "cursor"  # the parameter of a function that can continue
CLOSE_SECONDS: Final = 2.0  # for a function to end when its turn does; a third of a lease if that is less
VALUES_AN_ITERATION: Final = 32  # a function that never waits lets others run behind so many values


class AgentError(Exception):
    """Ends the answer as an error. Its text is for the person who asked; other exceptions' texts are only logged."""


class Session(msgspec.Struct, frozen=True):
    """The place of a message in its conversation.

    Attributes:
        subject: the user that sent it; empty if the gateway does not know.
    """

    session_id: str
    turn_id: str
    subject: str
    _history: History

    async def history(self) -> Sequence[PastTurn]:
        """Read the session's last turns, oldest first, within ``AGENT_HISTORY`` and ``…_CHARACTERS``."""
        return await self._history()


class Marked(NamedTuple):
    """A text or an object (any JSON) behind which the function can continue, and the cursor that names the place.

    A function with a third parameter, ``cursor``, may yield such. If the worker that runs it ends or dies right behind
    one, another worker calls the function with that cursor, for the rest of the answer; otherwise ``cursor`` is empty.
    """

    value: str | dict[str, Any]
    cursor: str


AnswerFunction = Callable[..., AsyncGenerator[str | dict[str, Any] | Marked, None]]
"""Takes a message, a session and perhaps a cursor; yields texts and objects (any JSON), each marked or not."""


def is_answer_function(value: object) -> TypeGuard[AnswerFunction]:
    """Is it an asynchronous generator function, or an object that is called as one?"""
    call = None if isinstance(value, type) else getattr(value, "__call__", None)  # noqa: B004 - to look at, not to call
    return inspect.isasyncgenfunction(value) or inspect.isasyncgenfunction(call)


class FunctionAgent(Agent):
    """Answers turns by a function."""

    is_here = True

    def __init__(self, function: AnswerFunction) -> None:
        self._function = function
        self._left: set[asyncio.Task[None]] = set()  # functions that did not end with their turns

        self._takes_cursor = CURSOR in inspect.signature(function).parameters

    def ask(self, turn: Turn, history: History = no_history) -> FunctionAnswer:
        """See ``Agent``."""
        cursor = "" if self._takes_cursor else None
        return FunctionAnswer(self._function, turn, history, self._left, cursor)

    def go_on(self, turn: Turn, so_far: Sequence[Frame], *, is_whole: bool) -> FunctionAnswer | None:
        """See ``Agent``."""
        if turn.position is None or not self._takes_cursor or not conf.agent_resume_seconds:
            return None
        answer = FunctionAnswer(self._function, turn, no_history, self._left, turn.position.cursor)
        answer.take_over(so_far)
        return answer

    async def close(self) -> None:
        """See ``Agent``."""
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(list(self._left), timeout=CLOSE_SECONDS)


class FunctionEvents(AgentEvents):
    """Makes frames of what the function yields, as of events of the gateway's own protocol."""

    def yielded(self, value: object, max_event_bytes: int) -> list[Frame]:
        """Return the frames of a text or an object; the last of all is terminal.

        Raises:
            TypeError: it is neither, or the object is not JSON.
            UpstreamProtocol: it is too large, or the whole answer is.
        """
        made: list[Frame] = []
        if isinstance(value, str):
            self._add_text(str.__str__(value), made)  # plain: a subclass, such as Django's SafeString, is not JSON
        elif isinstance(value, dict):
            self._take_value("", value, made)
        else:
            raise TypeError(f"an agent function yields strings and objects, not {type(value).__name__}")
        size = sum(len(frame.body.encode("utf-8", "surrogatepass")) for frame in made)
        self._bytes_left -= size
        if size > max_event_bytes:
            raise AgentEventTooLarge
        if self._bytes_left < 0:
            raise AnswerTooLong
        return made

    def count(self, so_far: Sequence[Frame]) -> None:
        """Count frames that another call of the function made."""
        self._count(so_far)

    def returned(self) -> list[Frame]:
        """Return the last frames: the function has ended."""
        made: list[Frame] = []
        self._end(made)
        if not self.is_over:
            self._finish("stop", made)
        return made

    def failed(self, words: str) -> list[Frame]:
        """Return the last frame: the function has failed."""
        made: list[Frame] = []
        self._fail(words, made)
        return made


class FunctionAnswer(Answer):
    """The answer of a function."""

    _events: FunctionEvents

    def __init__(
        self,
        function: AnswerFunction,
        turn: Turn,
        history: History,
        left: set[asyncio.Task[None]],
        cursor: str | None,
    ) -> None:
        super().__init__(FunctionEvents(turn.turn_id, max_turn_bytes=conf.max_turn_bytes, redact=redact_answer))
        self._function = function
        self._message = copy.deepcopy(turn.message)  # the function may change its own
        self._cursor = {} if cursor is None else {CURSOR: cursor}
        self._mark = cursor or ""  # the last one
        self._session = Session(turn.session_id, turn.turn_id, turn.subject or "", history)
        self._left = left
        self._max_event_bytes = conf.max_event_bytes
        self._close_seconds = min(CLOSE_SECONDS, conf.lease_seconds / 3)
        self._sink: FrameSink | None = None
        self._refused: list[Frame] = []  # by the sink; ``batches`` gives them
        self._failure: RelayError | None = None
        self._changed = asyncio.Event()  # wakes ``batches``
        self._go_on = asyncio.Event()  # wakes the function: the refused frames are stored
        self._is_closed = False

    async def batches(self, sink: FrameSink | None = None) -> AsyncGenerator[list[Frame], None]:
        """See ``Answer``: call the function. Closing the iterator closes its generator, and waits a moment for it."""
        self._sink = sink
        self._restart_silence()
        running = asyncio.create_task(self._run(), name="agent function")
        running.add_done_callback(lambda _: self._changed.set())
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                refused, self._refused = self._refused, []
                if refused:
                    yield refused
                if self._events.is_over:
                    return
                if self._failure is not None:
                    raise self._failure
                if running.done():
                    raise UpstreamEof  # it has cancelled itself
                self._go_on.set()
        finally:
            self._waiting_since = None
            self._is_closed = True
            self._report()
            await self._end(running)

    async def _run(self) -> None:
        """Run the function to its end, in a task of its own."""
        try:
            await self._push_all()
            last = self._events.returned() if not self._events.is_over else []
        except AgentError as exc:
            last = self._events.failed(str(exc))
        except RelayError as exc:
            self._failure, last = exc, []
        except (Exception, SystemExit) as exc:  # a function that exits ends its turn, not the gateway
            logger.exception("agent function failed")
            self.evidence.cause = redact_answer(f"{type(exc).__name__}: {exc}")[:MAX_WORDS_CHARACTERS]
            last = self._events.failed("")
        self._refused += last

    async def _push_all(self) -> None:
        number = 0
        async with aclosing(self._function(self._message, self._session, **self._cursor)) as values:
            async for marked in values:
                value = self._unmarked(marked)
                self._waiting_since = None
                if self._is_closed or not await self._push(self._events.yielded(value, self._max_event_bytes)):
                    return
                number += 1
                if number % VALUES_AN_ITERATION == 0:
                    await asyncio.sleep(0)
                self._waiting_since = time.monotonic()

    def take_over(self, so_far: Sequence[Frame]) -> None:
        """Go on behind the frames that another worker has stored."""
        self._events.count(so_far)

    def _unmarked(self, value: object) -> object:
        """Return a value without its mark, and note behind which cursor another worker can continue.

        Raises:
            RelayError: the mark is not behind the last one, so the function says something again.
        """
        cursor = None
        if isinstance(value, Marked):
            value, cursor = value
            if self._mark and not is_later(cursor, self._mark):
                self.evidence.cause = "its cursor does not follow the last one"
                raise Interrupted if self._cursor.get(CURSOR) else UpstreamEof
            self._mark = cursor
        if self._cursor and conf.agent_resume_seconds:
            self._events.run = MarkedRun(cursor)
        return value

    async def _push(self, frames: list[Frame]) -> bool:
        """Push frames, or wait until ``batches`` has given them. Returns whether more may come."""
        if self._events.is_over:
            self._refused = frames
            self._changed.set()
            return False
        if frames and (self._sink is None or not self._sink.push(frames)):
            self._refused = frames
            self._go_on.clear()
            self._changed.set()
            await self._go_on.wait()
        return True

    async def _end(self, running: asyncio.Task[None]) -> None:
        """End the function, and leave one that does not end to its agent."""
        try:
            running.cancel()
            await asyncio.wait([running], timeout=self._close_seconds)
        finally:
            if not running.done():
                logger.warning("agent function does not end")
                self._left.add(running)
                running.add_done_callback(self._left.discard)

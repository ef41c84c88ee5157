"""The turns of the Redis layer: each call is a script, each reply a value or a refusal."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from relay.exceptions import BufferLost, StoreUnavailable
from relay.layers.outbox import report_full
from relay.layers.redis.append import PendingAppend
from relay.layers.redis.frames import decode, decode_all, encode
from relay.layers.redis.outbox import RedisOutbox
from relay.layers.redis.replies import accept
from relay.layers.redis.store import Store
from relay.layers.redis.stores import Stores
from relay.layers.redis.values import position_of, subject_text
from relay.layers.redis.wire import Reply
from relay.layers.values import (
    Accepted,
    AgentPosition,
    CancelAck,
    CancelStatus,
    NewNotification,
    NewTurn,
    Turn,
    agent_message,
    new_epoch,
    new_id,
)
from relay.protocol import frames as frames_
from relay.protocol import json_text
from relay.protocol.frames import Frame, FrameKind


class RedisTurns:
    """The part of the contract that is about turns."""

    def __init__(self, stores: Stores, outbox: RedisOutbox) -> None:
        self._stores = stores
        self._outbox = outbox

    async def enqueue(self, session_id: str, new_turn: NewTurn) -> Accepted:
        turn_id, position, status, duplicate = accept(
            await self._stores.current().write(
                "enqueue",
                session_id,
                self._stores.now(),
                new_epoch(),
                new_turn.turn_id,
                new_turn.body,
                new_turn.client_message_id or "",
                hashlib.sha256(new_turn.body.encode("utf-8", "surrogatepass")).hexdigest(),
                new_turn.on_busy.value,
                subject_text(new_turn.subject),
                int(new_turn.is_detached),
                new_turn.traceparent or "",
                *(text for call_id in new_turn.answers for text in _resolved(new_turn.turn_id, call_id)),
            )
        )
        return Accepted(turn_id.decode(), position if position >= 0 else None, status.decode(), bool(duplicate))

    async def claim(self, session_id: str, claim_id: str) -> Turn | None:
        store = self._stores.current()
        reply = await store.write("claim", session_id, self._stores.now(), claim_id, FrameKind.USER_MESSAGE.value)
        if reply is None:
            return None
        turn_id, body, subject, abandoned, cancelled, append_number, first, epoch, waited, trace, owner, *others = reply
        questions, resolved, position, ran = others
        turn = Turn(
            session_id=session_id,
            turn_id=turn_id.decode(),
            lease_id=claim_id,
            message=agent_message(body.decode()) if body else {},
            subject=subject[1:].decode() if subject else None,
            owner=owner[1:].decode() if owner else None,
            is_abandoned=abandoned == b"1",
            position=position_of(position),
            is_cancelled=cancelled == b"1",
            waited_seconds=float(waited),
            ran_seconds=float(ran),
            traceparent=trace.decode() or None,
            append_number=append_number,
            epoch=epoch.decode(),
            questions=[json_text.decode(question) for question in questions],
        )
        if first:
            frame = frames_.user_message(turn.turn_id, body.decode(), first)
            store.feed(session_id, epoch, first - 1, [frame, *decode_all(resolved, first)])
        return turn

    async def append(self, turn: Turn, frames: list[Frame], position: AgentPosition | None = None) -> int:
        await self.wait_appended(turn)
        store = self._stores.current()
        return await PendingAppend(store, turn, frames, self._stores.now(), position=position).wait()

    def append_nowait(
        self, turn: Turn, frames: list[Frame], stored: Callable[[], None], position: AgentPosition | None = None
    ) -> bool:
        if turn.appending is not None:
            return False
        store = self._stores.current()
        try:
            turn.appending = PendingAppend(store, turn, frames, self._stores.now(), stored, position)
        except StoreUnavailable:
            return False
        return True

    async def wait_appended(self, turn: Turn) -> None:
        appending, turn.appending = turn.appending, None
        if appending is not None:
            await appending.wait()

    async def finish(self, turn: Turn, terminal: Frame, notification: NewNotification | None) -> Frame:
        store = self._stores.current()
        cancelled = encode(frames_.final(turn.turn_id, "cancelled"))
        reply = await store.write(
            "finish",
            turn.session_id,
            self._stores.now(),
            turn.turn_id,
            turn.lease_id,
            turn.append_number,
            encode(terminal),
            cancelled,
            *(self._outbox.arguments(notification) if notification is not None else ()),
            with_outbox=notification is not None,
        )
        return _ended(store, turn, accept(reply))

    async def renew(self, turn: Turn) -> None:
        accept(await self._look(turn, extend=True))

    async def release(self, turn: Turn) -> None:
        store = self._stores.current()
        arguments = (turn.turn_id, turn.lease_id)
        accept(await store.write("release", turn.session_id, self._stores.now(), *arguments))

    async def wait_cancelled(self, turn: Turn) -> None:
        async with self._stores.current().open_feed(turn.session_id) as feed:
            with feed.cancel_waiter(turn.epoch, turn.turn_id) as waiter:
                if await self._look(turn, extend=False) == b"held":
                    await waiter

    async def cancel(self, session_id: str, turn_id: str | None = None, subject: str | None = None) -> CancelAck:
        store = self._stores.current()
        arguments = (turn_id or "", subject_text(subject))
        reply = accept(await store.write("cancel", session_id, self._stores.now(), *arguments, call_id=new_id()))
        return CancelAck(reply[0].decode() or None, CancelStatus(reply[1].decode()))

    async def cancel_unwatched(self, session_id: str) -> int:
        return await self._cancel_many(session_id, "unwatched")

    async def clear_queue(self, session_id: str) -> int:
        return await self._cancel_many(session_id, "queued")

    async def reset(self, turn: Turn, text: str, notification: NewNotification | None) -> Frame:
        store = self._stores.current()
        reply = await store.write(
            "reset",
            turn.session_id,
            self._stores.now(),
            new_epoch(),
            turn.turn_id,
            turn.lease_id,
            text,
            encode(frames_.error(turn.turn_id, BufferLost())),
            subject_text(turn.subject),
            turn.epoch,
            subject_text(turn.owner),
            *(self._outbox.arguments(notification) if notification is not None else ()),
            with_outbox=notification is not None,
        )
        *stored, epoch = accept(reply)
        turn.epoch = epoch.decode()
        return _ended(store, turn, stored)

    def _look(self, turn: Turn, *, extend: bool) -> asyncio.Future[Reply]:
        store = self._stores.current()
        return store.write("renew", turn.session_id, self._stores.now(), turn.turn_id, turn.lease_id, int(extend))

    async def _cancel_many(self, session_id: str, which: str) -> int:
        store = self._stores.current()
        return int(await store.write("cancel_many", session_id, self._stores.now(), which, call_id=new_id()))


def _resolved(turn_id: str, call_id: str) -> tuple[str, str]:
    return call_id, encode(frames_.pending_resolved(turn_id, call_id))


def _ended(store: Store, turn: Turn, reply: Reply) -> Frame:
    """Read the terminal that is stored; if it is new, give it to the viewers of this process."""
    data, offset, epoch, dropped, waiting = reply
    turn.is_last = not waiting
    if dropped:
        report_full()
    terminal = decode(data, offset)
    if epoch is not None:
        store.feed(turn.session_id, epoch, offset - 1, [terminal])
    return terminal

"""Several workers on one session, with every misfortune: a machine makes up the story, a model checks it.

The model knows which turns were accepted, in which order they must run, and who may write. After every step the log
must be what the model says; in the end every accepted message has run into exactly one end.
"""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay.exceptions import IdempotencyConflict, Interrupted, LeaseLost, QueueFull, SessionBusy, TurnCancelled
from relay.layers.bounds import Bounds
from relay.layers.values import AgentPosition, CancelStatus, NewNotification, SessionState, new_id
from relay.protocol import frames
from relay.protocol.client_messages import OnBusy
from relay.protocol.cursor import Cursor
from relay.protocol.frames import FrameKind
from relay.testing.model_turn import ModelTurn, as_modelled
from relay.testing.store import Store
from relay.testing.turns import LEASE_SECONDS, LIMIT_SECONDS, S, Tail, message, same_frames, tokens

MAX_QUEUE = 3
NOTIFICATION = NewNotification(text="ended", cancelled_text="cancelled")
WORKERS = 3


class Workers(RuleBasedStateMachine):
    """The rules are what workers, clients and fate do; ``make_store`` is set by the test."""

    make_store: Callable[[], Store]

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.make_store()
        bounds = Bounds(max_queue=MAX_QUEUE, lease_seconds=LEASE_SECONDS, ttl_seconds=1e9)
        self.layer = self.wait(self.store.layer(bounds))
        self.epoch = self.wait(self.layer.ensure(S)).epoch
        self.viewer = self.wait(self.watch())
        self.held = [None] * WORKERS  # the turn that each worker believes to have
        self.said = [None] * WORKERS  # its last append: number and frames
        self.ended = [None] * WORKERS  # the turn that it ended last
        self.sent = []  # every message that was accepted, for repeats
        self.queue, self.history = [], []
        self.running = None
        self.owner = None  # the worker that has the lease
        self.silent_seconds = self.idle_seconds = self.age_seconds = 0.0
        self.count = 0

    async def watch(self):
        """A viewer on a worker of its own, which may miss what is announced."""
        return Tail(await self.store.peer(), Cursor(self.epoch, 0))

    def teardown(self):
        try:
            self.finish_everything()
            self.the_viewer_sees_the_log()
        finally:
            self.wait(self.viewer.close())
            self.wait(self.store.close())
            self.runner.close()

    def wait(self, call):
        return self.runner.run(call)

    def error_of(self, call):
        try:
            self.wait(call)
        except (LeaseLost, TurnCancelled) as exc:
            return type(exc)
        return None

    # Clients.

    @initialize(on_busy=st.sampled_from(OnBusy))
    def say_first(self, on_busy):
        self.say(on_busy, None)

    @rule(on_busy=st.sampled_from(OnBusy), name=st.sampled_from([None, None, "a", "b", "c"]))
    def say(self, on_busy, name):
        self.count += 1
        new = message(f"content of {name or self.count}", on_busy=on_busy, client_message_id=name)
        known = next((turn for turn in self.turns() if name and turn.new_turn.client_message_id == name), None)
        waiting = len(self.queue) + (self.running is not None)
        try:
            accepted = self.wait(self.layer.enqueue(S, new))
        except SessionBusy:
            assert known is None
            assert on_busy is OnBusy.REJECT
            assert waiting
            return
        except QueueFull:
            assert known is None
            assert on_busy is not OnBusy.INTERRUPT
            assert waiting > MAX_QUEUE
            return
        if known is not None:
            assert (accepted.turn_id, accepted.duplicate) == (known.turn_id, True)
            return
        assert (accepted.turn_id, accepted.duplicate, accepted.status) == (new.turn_id, False, "queued")
        assert on_busy is OnBusy.INTERRUPT or waiting <= MAX_QUEUE
        assert on_busy is not OnBusy.REJECT or not waiting
        turn = ModelTurn(new)
        self.sent.append(turn)
        self.idle_seconds = 0.0
        if on_busy is OnBusy.INTERRUPT:
            self.queue.insert(0, turn)
            if self.running is not None:
                self.running.is_cancelled = True
        else:
            self.queue.append(turn)
        assert accepted.position == self.queue.index(turn)

    @rule(data=st.data())
    @precondition(lambda self: self.sent)
    def say_again_after_a_lost_reply(self, data):
        turn = data.draw(st.sampled_from(self.sent))
        accepted = self.wait(self.layer.enqueue(S, turn.new_turn))
        assert (accepted.turn_id, accepted.duplicate) == (turn.turn_id, False)
        assert accepted.status == self.status(turn)

    @rule(data=st.data())
    @precondition(lambda self: any(turn.new_turn.client_message_id for turn in self.sent))
    def say_something_else_by_the_same_name(self, data):
        turn = data.draw(st.sampled_from([turn for turn in self.sent if turn.new_turn.client_message_id]))
        with pytest.raises(IdempotencyConflict):
            self.wait(self.layer.enqueue(S, message("else", client_message_id=turn.new_turn.client_message_id)))

    @rule(data=st.data(), repeats=st.integers(1, 2))
    def cancel(self, data, repeats):
        turn = data.draw(st.sampled_from([None, *self.turns()]))
        for _ in range(repeats):
            ack = self.wait(self.layer.cancel(S, turn and turn.turn_id))
            target = turn or self.running or (self.queue[0] if self.queue else None)
            if target is None:
                assert (ack.turn_id, ack.status) == (None, CancelStatus.UNKNOWN)
                return
            expected = {"queued": "queued", "running": "cancelling", "ended": "already_ended"}[self.status(target)]
            assert (ack.turn_id, ack.status) == (target.turn_id, expected)
            if target.end is None:
                target.is_cancelled = True

    @rule()
    def clear_queue(self):
        waiting = [turn for turn in self.queue if not turn.is_cancelled]
        assert self.wait(self.layer.clear_queue(S)) == len(waiting)
        for turn in waiting:
            turn.is_cancelled = True

    # Workers.

    @rule(worker=st.integers(0, WORKERS - 1), repeats=st.integers(1, 2))
    def claim(self, worker, repeats):
        claim_id = new_id()
        # Looked for here only, as workers do: a store may have to visit each of its parts.
        assert self.wait(self.layer.pending(5)) == ([S] if self.claimable()[0] else [])
        for attempt in range(repeats):
            turn = self.wait(self.layer.claim(S, claim_id))
            if attempt == 0:
                expected, is_abandoned = self.claimable()
            if expected is None:
                assert turn is None
                continue
            assert turn is not None
            assert (turn.turn_id, turn.lease_id) == (expected.turn_id, claim_id)
            assert (turn.is_abandoned, turn.is_cancelled) == (is_abandoned, expected.is_cancelled)
            assert turn.position == (expected.position if is_abandoned else None)
            if attempt == 0:
                if not is_abandoned:
                    self.queue.remove(expected)
                    self.history.append(expected)
                    expected.texts = []
                    self.running = expected
                    self.idle_seconds = 0.0
                self.owner, self.silent_seconds = turn.lease_id, 0.0
            self.held[worker], self.said[worker] = turn, None

    def claimable(self):
        if self.running is not None:
            abandoned = self.silent_seconds >= LEASE_SECONDS
            return (self.running, True) if abandoned else (None, False)
        return (self.queue[0], False) if self.queue else (None, False)

    @rule(
        worker=st.integers(0, WORKERS - 1),
        texts=st.lists(st.sampled_from("abc"), max_size=3),
        started=st.booleans(),
        cursor=st.sampled_from([None, "", "7"]),
    )
    @precondition(lambda self: any(self.held))
    def append(self, worker, texts, started, cursor):
        turn = self.held[worker]
        if turn is None:
            return
        number, sent = turn.append_number, tokens(turn, *texts)
        kept = same_frames(sent)
        position = cursor if cursor is None else AgentPosition("run", cursor, len(texts))
        append = self.append_started if started else self.layer.append
        error = self.error_of(append(turn, sent, position))
        if not self.may_write(turn):
            assert error is LeaseLost
        elif self.running.is_cancelled:
            assert error is TurnCancelled
        else:
            assert error is None
            self.running.texts += [(text, turn.turn_id) for text in texts]
            self.running.position = position
            self.said[worker] = (number, kept, position)
            self.silent_seconds = self.idle_seconds = 0.0

    async def append_started(self, turn, sent, position):
        """Append as the frames of a chunk are, where it arrives."""
        if sent and self.layer.append_nowait(turn, sent, lambda: None, position):
            await self.layer.wait_appended(turn)
        else:
            await self.layer.append(turn, sent, position)

    @rule(worker=st.integers(0, WORKERS - 1))
    @precondition(lambda self: any(self.said))
    def append_again_after_a_lost_reply(self, worker):
        turn, said = self.held[worker], self.said[worker]
        if turn is None or said is None:
            return
        turn.append_number = said[0]
        error = self.error_of(self.layer.append(turn, same_frames(said[1]), said[2]))
        assert error is (None if self.may_write(turn) else LeaseLost)
        if error is None:
            self.silent_seconds = 0.0

    @rule(worker=st.integers(0, WORKERS - 1))
    @precondition(lambda self: any(self.held))
    def renew(self, worker):
        turn = self.held[worker]
        if turn is None:
            return
        error = self.error_of(self.layer.renew(turn))
        if not self.may_write(turn):
            assert error is LeaseLost
            return
        assert error is (TurnCancelled if self.running.is_cancelled else None)
        self.silent_seconds = 0.0

    @rule(worker=st.integers(0, WORKERS - 1), repeats=st.integers(1, 2))
    @precondition(lambda self: any(self.held))
    def release(self, worker, repeats):
        turn = self.held[worker]
        if turn is None:
            return
        for _ in range(repeats):
            error = self.error_of(self.layer.release(turn))
            assert error is (None if self.may_write(turn) else LeaseLost)
        if error is None:
            self.silent_seconds = LEASE_SECONDS

    @rule(worker=st.integers(0, WORKERS - 1), repeats=st.integers(1, 2))
    @precondition(lambda self: any(self.held))
    def finish(self, worker, repeats):
        turn = self.held[worker]
        if turn is None:
            return
        for attempt in range(repeats):
            asked = frames.error(turn.turn_id, Interrupted()) if turn.is_abandoned else frames.final(turn.turn_id)
            if attempt == 0 and not self.may_write(turn):
                assert self.error_of(self.layer.finish(turn, asked, NOTIFICATION)) is LeaseLost
                self.held[worker] = None
                return
            terminal = self.wait(self.layer.finish(turn, asked, NOTIFICATION))
            if attempt == 0:
                self.end(turn, terminal)
            assert turn.is_last == (not self.queue)
        self.held[worker], self.ended[worker] = None, turn

    def end(self, turn, terminal):
        ending = self.running
        assert ending.turn_id == turn.turn_id
        if ending.is_cancelled:
            assert '"finish_reason":"cancelled"' in terminal.members
        else:
            assert terminal.kind is (FrameKind.ERROR if turn.is_abandoned else FrameKind.FINAL)
        ending.end = ("end", turn.turn_id)
        self.running = self.owner = None
        self.idle_seconds = 0.0

    @rule(worker=st.integers(0, WORKERS - 1))
    @precondition(lambda self: any(self.ended))
    def write_after_the_end(self, worker):
        turn = self.ended[worker]
        if turn is None:
            return
        assert self.error_of(self.layer.append(turn, tokens(turn, "late"))) is LeaseLost
        assert self.error_of(self.layer.renew(turn)) is LeaseLost
        self.wait(
            self.layer.finish(turn, frames.final(turn.turn_id), NOTIFICATION)
        )  # a repeat: the stored end, no second one

    @rule(worker=st.integers(0, WORKERS - 1))
    def reset_is_refused_to_all_but_the_owner(self, worker):
        turn = self.held[worker]
        if turn is not None and not self.may_write(turn):
            assert self.error_of(self.layer.reset(turn, "text")) is LeaseLost

    # Fate.

    @rule(worker=st.integers(0, WORKERS - 1))
    @precondition(lambda self: any(self.held))
    def die(self, worker):
        self.held[worker] = None

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS - 1, LEASE_SECONDS]))
    def pause(self, seconds):
        self.wait(self.store.advance(seconds))
        self.silent_seconds += seconds
        self.idle_seconds += seconds
        self.age_seconds += seconds

    @rule()
    def announcements_get_lost(self):
        self.wait(self.store.deafen())

    @rule()
    def the_viewer_sees_the_log(self):
        """Whatever was lost, the comparison with the store finds it: no hole, nothing twice."""
        self.wait(self.store.compare())
        expected = [frame for turn in self.history for frame in turn.frames]
        self.wait(self.viewer.until(lambda: len(self.viewer.frames) >= len(expected)))
        assert [as_modelled(frame) for frame in self.viewer.frames] == expected
        assert self.viewer.offsets == list(range(1, len(expected) + 1))

    # Invariants.

    def may_write(self, turn):
        return self.running is not None and self.owner == turn.lease_id

    def turns(self):
        return [*self.history, *self.queue]

    def status(self, turn):
        return "ended" if turn.end else "running" if turn.texts is not None else "queued"

    @invariant()
    def the_log_is_what_the_model_says(self):
        log = self.wait(self.layer.read(S, Cursor(self.epoch, 0), 1_000_000))
        assert [frame.offset for frame in log] == list(range(1, len(log) + 1))
        assert [as_modelled(frame) for frame in log] == [frame for turn in self.history for frame in turn.frames]

    @invariant()
    def the_state_is_what_the_model_says(self):
        newest = sum(len(turn.frames) for turn in self.history)
        assert self.wait(self.layer.ensure(S)) == SessionState(
            session_id=S,
            epoch=self.epoch,
            oldest=1,
            newest=newest,
            active_turn_id=self.running and self.running.turn_id,
            active_after=newest - len(self.running.frames) if self.running else newest,
            is_cancelling=bool(self.running and self.running.is_cancelled),
            queued=tuple(turn.turn_id for turn in self.queue),
            viewers=0,
            is_empty=not self.sent,
            idle_seconds=self.idle_seconds,
            age_seconds=self.age_seconds,
        )

    def finish_everything(self):
        """The remaining workers do the rest: every accepted message ends exactly once, in order."""
        while self.running is not None or self.queue:
            self.pause(LEASE_SECONDS)
            self.claim(0, 1)
            self.finish(0, 1)
            self.the_log_is_what_the_model_says()
        log = self.wait(self.layer.read(S, Cursor(self.epoch, 0), 1_000_000))
        ends = [frame.turn_id for frame in log if frame.is_terminal]
        assert sorted(ends) == sorted(turn.turn_id for turn in self.sent)
        self.every_end_was_notified_once()

    def every_end_was_notified_once(self):
        notified = self.wait(self.notifications())
        assert sorted((entry.turn_id, entry.text) for entry in notified) == sorted(
            (turn.turn_id, "cancelled" if turn.is_cancelled else "ended") for turn in self.sent
        )

    async def notifications(self):
        """Send all that there are; a take leaves out a server that does not answer in time, so it is repeated."""
        sent, lease_seconds = [], 1.0
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(sent) < len(self.sent):
                for entry in await self.layer.outbox.take(1_000_000, lease_seconds):
                    sent.append(entry)
                    await self.layer.outbox.remove(entry)
                await self.store.advance(lease_seconds)
                await asyncio.sleep(0)  # nothing waits where sessions are kept in memory
        return sent


@pytest.mark.hypothesis  # the plugin of hypothesis marks only what is given examples
def test_workers_never_spoil_a_session(make_store):
    machine = type("Machine", (Workers,), {"make_store": staticmethod(make_store)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=settings().max_examples * 3 // 2, stateful_step_count=40)
    )

"""Any order of questions, answers, failures and time, over two workers: each question is answered once, or expires."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from relay.exceptions import AlreadyDecided, UpstreamEof, UpstreamUnavailable
from relay.layers.bounds import Bounds
from relay.protocol import frames
from relay.testing.contract.questions import decision, question
from relay.testing.store import Store
from relay.testing.turns import S, append_twice, claim, start, stop

QUESTION_SECONDS, TTL_SECONDS = 30.0, 10_000.0
CALL_IDS = st.sampled_from(["c1", "c2", "c3"])
ENDS = st.sampled_from(["stop", "unavailable", "eof", "cancelled in the queue"])


class Questions(RuleBasedStateMachine):
    """``asked`` has when each question expires, and whether it is settled; ``make_store`` is set by the test."""

    make_store: Callable[[], Store]

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.make_store()
        bounds = Bounds(question_seconds=QUESTION_SECONDS, ttl_seconds=TTL_SECONDS, lease_seconds=TTL_SECONDS)
        self.layers = [self.wait(self.store.layer(bounds)), self.wait(self.store.peer())]
        self.now = 0.0
        self.asked = {}  # the oldest first

    def teardown(self):
        self.wait(self.store.close())
        self.runner.close()

    def wait(self, call):
        return self.runner.run(call)

    @property
    def layer(self):
        self.layers.reverse()  # another worker each time
        return self.layers[0]

    def is_open(self, call_id):
        expires_at, is_settled = self.asked[call_id]
        return self.now < expires_at and not is_settled

    @rule(call_ids=st.lists(CALL_IDS, min_size=1, max_size=3, unique=True), is_reply_lost=st.booleans())
    def ask(self, call_ids, is_reply_lost):
        turn = self.wait(start(self.layer))
        made = [question(turn, call_id) for call_id in call_ids]
        self.wait(append_twice(self.layer, turn, made) if is_reply_lost else self.layer.append(turn, made))
        self.wait(stop(self.layer, turn))
        for call_id in call_ids:
            self.asked.pop(call_id, None)
            self.asked[call_id] = (self.now + QUESTION_SECONDS, False)

    @rule(call_ids=st.lists(CALL_IDS, min_size=1, max_size=3, unique=True), end=ENDS, is_reply_lost=st.booleans())
    def answer(self, call_ids, end, is_reply_lost):
        message = decision(*call_ids)
        known = [call_id for call_id in call_ids if call_id in self.asked]
        if not all(map(self.is_open, known)):
            with pytest.raises(AlreadyDecided):
                self.wait(self.layer.enqueue(S, message))
            return
        for _ in range(1 + is_reply_lost):
            assert self.wait(self.layer.enqueue(S, message)).turn_id == message.turn_id
        if end == "cancelled in the queue":
            self.wait(self.layer.clear_queue(S))
        turn = self.wait(claim(self.layer))
        assert [event["call_id"] for event in turn.questions] == known
        errors = {"unavailable": UpstreamUnavailable(), "eof": UpstreamEof()}
        terminal = frames.error(turn.turn_id, errors[end]) if end in errors else frames.final(turn.turn_id)
        self.wait(self.layer.finish(turn, terminal))
        if end in ("stop", "eof"):
            for call_id in known:
                self.asked[call_id] = (self.asked[call_id][0], True)

    @rule(call_id=CALL_IDS)
    def agent_settles(self, call_id):
        turn = self.wait(start(self.layer))
        event = {"type": "tool_result", "call_id": call_id, "result": 1}
        self.wait(self.layer.append(turn, [frames.event(turn.turn_id, event)]))
        self.wait(stop(self.layer, turn))
        if call_id in self.asked and self.is_open(call_id):
            self.asked[call_id] = (self.asked[call_id][0], True)

    @rule(seconds=st.sampled_from([1.0, QUESTION_SECONDS - 1, QUESTION_SECONDS]))
    def time_passes(self, seconds):
        self.wait(self.store.advance(seconds))
        self.now += seconds

    @invariant()
    def what_waits_is_what_the_model_says(self):
        state = self.wait(self.layer.get(S))
        found = [] if state is None else [waiting.call_id for waiting in state.questions]
        assert found == [call_id for call_id in self.asked if self.is_open(call_id)]


@pytest.mark.hypothesis
def test_each_question_is_answered_once_or_expires(make_store):
    machine = type("Machine", (Questions,), {"make_store": staticmethod(make_store)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=settings().max_examples * 2 // 5, stateful_step_count=20)
    )

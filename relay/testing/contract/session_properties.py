"""Clients that watch, speak, leave and come back: which sessions exist, their owners, and for how long.

Hypothesis makes up the story, a model checks it: an empty session is kept by its viewers alone, one with a message for
its time; an epoch lasts as long as its session; only the owner gets in.
"""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from relay.exceptions import NotOwner, StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.values import SessionState
from relay.testing.store import Store
from relay.testing.turns import answer

VIEWER_SECONDS, TTL_SECONDS = 10.0, 35.0
MAX_EMPTY = 2
NAMES = "abcd"
VIEWERS = st.sampled_from(["one", "two"])
SUBJECTS = st.sampled_from([None, None, "alice", "bob"])


class ModelSession:
    """One session as it must be."""

    def __init__(self, now):
        self.epoch = None  # not known before it is told
        self.owner = None
        self.has_started = False
        self.newest = 0
        self.created_at = self.active_at = self.used_at = now
        self.viewers = {}  # until when each counts

    def use(self, now):
        self.used_at = now

    def is_over(self, now):
        return self.used_at + (TTL_SECONDS if self.has_started else VIEWER_SECONDS) <= now

    def watching(self, now):
        return sum(until > now for until in self.viewers.values())

    def answer(self, now):
        """Take a message and its answer: the frame of the message, and the end."""
        self.has_started = True
        self.newest += 2
        self.active_at = now
        self.use(now)

    def state(self, name, now):
        return SessionState(
            session_id=name,
            epoch=self.epoch,
            oldest=1,
            newest=self.newest,
            active_turn_id=None,
            active_after=self.newest,
            is_cancelling=False,
            queued=(),
            viewers=self.watching(now),
            is_empty=not self.has_started,
            idle_seconds=now - self.active_at,
            age_seconds=now - self.created_at,
            owner=self.owner,
        )


class Sessions(RuleBasedStateMachine):
    """The rules are what clients, services and time do; ``make_store`` is set by the test."""

    make_store: Callable[[], Store]

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.make_store()
        bounds = Bounds(viewer_seconds=VIEWER_SECONDS, ttl_seconds=TTL_SECONDS, max_empty_sessions=MAX_EMPTY)
        self.layers = [self.wait(self.store.layer(bounds)), self.wait(self.store.peer())]
        self.ids = dict(zip(NAMES, ["a", *self.store.beside("a", len(NAMES) - 1)], strict=True))
        self.now = 0.0
        self.sessions = {}
        self.former_epochs = set()

    def teardown(self):
        try:
            self.only_sessions_with_messages_are_listed()
        finally:
            self.wait(self.store.close())
            self.runner.close()

    def wait(self, call):
        return self.runner.run(call)

    @property
    def layer(self):
        self.layers.reverse()  # another worker each time
        return self.layers[0]

    # The state of the model.

    def end(self, name):
        self.former_epochs.add(self.sessions.pop(name).epoch)

    def empties(self):
        return [name for name, session in self.sessions.items() if not session.has_started]

    def expected_error(self, name, subject, *, starts=False):
        """The error that a call by this subject raises; a session that it may start is started."""
        session = self.sessions.get(name)
        if session is None:
            if not starts and len(self.empties()) >= MAX_EMPTY:
                return StoreUnavailable
            session = self.sessions[name] = ModelSession(self.now)
        if subject is not None:
            if session.owner not in (None, subject):
                return NotOwner
            session.owner = subject
        return None

    def outcome(self, call):
        try:
            return self.wait(call), None
        except (NotOwner, StoreUnavailable) as exc:
            return None, type(exc)

    # Clients and services.

    @rule(name=st.sampled_from(NAMES), viewer=VIEWERS, subject=SUBJECTS)
    def attach(self, name, viewer, subject):
        name = self.ids[name]
        expected = self.expected_error(name, subject)
        watching, error = self.outcome(self.layer.attach(name, viewer, subject))
        assert error is expected
        if error is None:
            session = self.sessions[name]
            session.viewers[viewer] = self.now + VIEWER_SECONDS
            session.use(self.now)
            assert watching == session.watching(self.now)

    @rule(name=st.sampled_from(NAMES), viewer=VIEWERS)
    def detach(self, name, viewer):
        name = self.ids[name]
        left = self.wait(self.layer.detach(name, viewer))
        session = self.sessions.get(name)
        if session is None:
            assert left == 0
            return
        session.viewers.pop(viewer, None)
        assert left == session.watching(self.now)
        if left or session.has_started:
            session.use(self.now)
        else:
            self.end(name)

    @rule(name=st.sampled_from(NAMES), subject=SUBJECTS)
    def look(self, name, subject):
        name = self.ids[name]
        expected = self.expected_error(name, subject)
        state, error = self.outcome(self.layer.ensure(name, subject))
        assert error is expected
        if error is None:
            session = self.sessions[name]
            session.epoch = session.epoch or state.epoch
            assert state == session.state(name, self.now)

    @rule(name=st.sampled_from(NAMES), subject=SUBJECTS)
    def say(self, name, subject):
        name = self.ids[name]
        expected = self.expected_error(name, subject, starts=True)
        _, error = self.outcome(answer(self.layer, session_id=name, subject=subject))
        assert error is expected
        if error is None:
            self.sessions[name].answer(self.now)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name):
        name = self.ids[name]
        assert self.wait(self.layer.delete(name)) == (name in self.sessions)
        if name in self.sessions:
            self.end(name)

    @rule(seconds=st.sampled_from([1.0, VIEWER_SECONDS - 1, VIEWER_SECONDS, TTL_SECONDS]))
    def time_passes(self, seconds):
        self.wait(self.store.advance(seconds))
        self.now += seconds
        for name in [name for name, session in self.sessions.items() if session.is_over(self.now)]:
            self.end(name)

    # Invariants.

    @invariant()
    def each_session_is_what_the_model_says(self):
        for name in self.ids.values():
            state, session = self.wait(self.layer.get(name)), self.sessions.get(name)
            assert (state is None) == (session is None)
            if state is not None:
                session.epoch = session.epoch or state.epoch
                assert state.epoch not in self.former_epochs
                assert state == session.state(name, self.now)

    @rule()  # no invariant: a store may have to visit each of its parts
    def only_sessions_with_messages_are_listed(self):
        listed, _ = self.wait(self.layer.active("", 10))
        started = sorted(name for name, session in self.sessions.items() if session.has_started)
        assert listed == [self.sessions[name].state(name, self.now) for name in started]


@pytest.mark.hypothesis
def test_sessions_are_kept_as_long_as_they_must_be(make_store):
    machine = type("Machine", (Sessions,), {"make_store": staticmethod(make_store)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=settings().max_examples * 3 // 5, stateful_step_count=30)
    )

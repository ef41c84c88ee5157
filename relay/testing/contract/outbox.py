"""``Outbox``: the notification stored by the step that ends a turn, kept until a worker has sent it."""

import asyncio
import logging

import pytest

from relay.exceptions import LeaseLost
from relay.layers import outbox
from relay.layers.values import NewNotification
from relay.observability import metrics
from relay.protocol import frames
from relay.testing.turns import S, claim, log, start

LEASE = 30.0
NOTIFICATION = NewNotification(text="ended", cancelled_text="cancelled")


async def end(layer, notification=NOTIFICATION, *, session_id=S):
    """A whole turn with a notification. Returns it."""
    turn = await start(layer, session_id=session_id)
    await layer.finish(turn, frames.final(turn.turn_id), notification)
    return turn


async def taken(layer, limit=100, **options):
    """The notifications that are due, as (turn, session, text)."""
    found = await layer.outbox.take(limit, LEASE, **options)
    return [(entry.turn_id, entry.session_id, entry.text) for entry in found]


async def test_the_end_of_a_turn_fills_the_outbox(layer, store, peer):
    turn = await end(layer)
    await store.advance(3)
    (entry,) = await peer.outbox.take(100, LEASE)
    assert (entry.turn_id, entry.session_id, entry.text) == (turn.turn_id, S, "ended")
    assert entry.age_seconds == pytest.approx(3, abs=0.01)


async def test_a_turn_without_a_notification_leaves_the_outbox_empty(layer):
    await end(layer, None)
    assert await taken(layer) == []


async def test_any_text_comes_back_as_it_was(layer):
    text = '{"a":"é\\n\\u0000 \U0001f600"}\n\n{}'
    await end(layer, NewNotification(text=text, cancelled_text=""), session_id="a~b:c@d")
    assert [(session, found) for _, session, found in await taken(layer)] == [("a~b:c@d", text)]


async def test_a_cancelled_turn_has_the_other_text(layer):
    turn = await start(layer)
    await layer.cancel(S)
    await layer.finish(turn, frames.final(turn.turn_id), NOTIFICATION)
    assert await taken(layer) == [(turn.turn_id, S, "cancelled")]


@pytest.mark.parametrize(("is_cancelled", "notification"), [(False, ("", "x")), (True, ("x", ""))])
async def test_an_empty_text_is_no_notification(layer, is_cancelled, notification):
    turn = await start(layer)
    if is_cancelled:
        await layer.cancel(S)
    text, cancelled_text = notification
    await layer.finish(turn, frames.final(turn.turn_id), NewNotification(text=text, cancelled_text=cancelled_text))
    assert await taken(layer) == []


async def test_an_end_that_is_repeated_notifies_once(layer, store):
    turn = await start(layer)
    for _ in range(3):
        await layer.finish(turn, frames.final(turn.turn_id), NOTIFICATION)
    (entry,) = await layer.outbox.take(100, LEASE)
    await layer.outbox.remove(entry)
    await layer.finish(turn, frames.final(turn.turn_id), NOTIFICATION)
    await store.advance(2 * LEASE)
    assert await taken(layer) == []


async def test_a_worker_that_lost_its_turn_notifies_of_nothing(layer, store):
    turn = await start(layer)
    await store.advance(61)
    abandoned = await claim(layer)
    with pytest.raises(LeaseLost):
        await layer.finish(turn, frames.final(turn.turn_id), NOTIFICATION)
    assert await taken(layer) == []
    await layer.finish(abandoned, frames.final(turn.turn_id), NOTIFICATION)
    assert await taken(layer) == [(turn.turn_id, S, "ended")]


async def test_a_turn_that_the_store_forgot_notifies_by_its_reset(layer, store):
    turn = await start(layer)
    await store.forget(S)
    for _ in range(2):
        await layer.reset(turn, "so far", NOTIFICATION)
    assert await taken(layer) == [(turn.turn_id, S, "ended")]
    assert await log(layer) == ["error:buffer_lost"]


@pytest.mark.parametrize("if_unwatched", [True, False])
async def test_a_watched_session_notifies_unless_it_must_be_unwatched(layer, store, if_unwatched):
    notification = NewNotification(text="ended", cancelled_text="", if_unwatched=if_unwatched)
    await layer.attach(S, "viewer")
    await end(layer, notification)
    assert len(await taken(layer)) == (0 if if_unwatched else 1)
    await layer.detach(S, "viewer")
    turn = await end(layer, notification)
    assert await taken(layer) == [(turn.turn_id, S, "ended")]


async def test_a_viewer_that_gives_no_sign_of_life_watches_no_more(layer, store):
    await layer.attach(S, "viewer")
    await store.advance(61)
    turn = await end(layer, NewNotification(text="ended", cancelled_text="", if_unwatched=True))
    assert await taken(layer) == [(turn.turn_id, S, "ended")]


async def test_what_is_taken_is_leased(layer, store, peer):
    turn = await end(layer)
    await taken(layer)
    assert await taken(peer) == []
    await store.advance(LEASE - 1)
    assert await taken(peer) == []
    await store.advance(1)
    assert await taken(peer) == [(turn.turn_id, S, "ended")]


async def test_what_was_sent_is_removed(layer, store, peer):
    await end(layer)
    (entry,) = await layer.outbox.take(1, LEASE)
    await peer.outbox.remove(entry)
    await peer.outbox.remove(entry)
    await store.advance(2 * LEASE)
    assert await taken(layer) == []


async def test_what_is_postponed_is_due_then(layer, store):
    turn = await end(layer)
    (entry,) = await layer.outbox.take(1, LEASE)
    await layer.outbox.postpone(entry, 100)
    await store.advance(99)
    assert await taken(layer) == []
    assert await taken(layer, ahead_seconds=1) == [(turn.turn_id, S, "ended")]


async def test_what_was_removed_cannot_be_postponed(layer, store):
    await end(layer)
    (entry,) = await layer.outbox.take(1, LEASE)
    await layer.outbox.remove(entry)
    await layer.outbox.postpone(entry, 1)
    await store.advance(1)
    assert await taken(layer) == []


async def test_the_one_that_waits_longest_is_first_and_no_more_than_asked_for(layer, store):
    turns = []
    for _ in range(3):
        turns.append((await end(layer)).turn_id)
        await store.advance(1)
    assert [turn_id for turn_id, _, _ in await taken(layer, 2)] == turns[:2]
    assert [turn_id for turn_id, _, _ in await taken(layer, 2)] == turns[2:]


async def test_a_look_at_some_sessions_finds_at_least_theirs(layer):
    turns = {name: await end(layer, session_id=name) for name in "abcde"}
    found = {session_id for _, session_id, _ in await taken(layer, session_ids={"a", "b"})}
    assert {"a", "b"} <= found
    rest = await taken(layer)
    assert found | {session_id for _, session_id, _ in rest} == set(turns)
    assert await taken(layer, session_ids=set(turns)) == []


async def test_the_one_that_waits_longest_is_first_among_many_sessions(layer, store):
    turns = []
    for number in range(12):
        turns.append((await end(layer, session_id=f"session-{number}")).turn_id)
        await store.advance(1)
    for expected in (turns[:5], turns[5:10], turns[10:]):
        assert [turn_id for turn_id, _, _ in await taken(layer, 5)] == expected


async def test_two_workers_that_take_at_once_share_what_is_due(layer, peer):
    for _ in range(20):
        await end(layer)
    found = await asyncio.gather(*(taken(each, 3) for each in [layer, peer] * 5))
    turn_ids = [turn_id for page in found for turn_id, _, _ in page]
    assert len(turn_ids) == len(set(turn_ids)) == 20


async def test_a_full_outbox_drops_counts_and_logs_and_the_turn_ends(layer, monkeypatch, caplog):
    monkeypatch.setattr("relay.layers.memory.outbox.MAX_NOTIFICATIONS", 2)
    monkeypatch.setattr("relay.layers.redis.outbox.MAX_NOTIFICATIONS", 2)
    monkeypatch.setattr(outbox, "outages", outbox.OutageLog(outbox.logger))
    caplog.set_level(logging.INFO)
    before = metrics.WEBHOOKS.labels("dropped")._value.get()
    kept = [(await end(layer)).turn_id for _ in range(2)]
    for _ in range(2):
        await end(layer)
    assert (await log(layer)).count("final:stop") == 4
    assert {turn_id for turn_id, _, _ in await taken(layer)} == set(kept)
    assert metrics.WEBHOOKS.labels("dropped")._value.get() == before + 2
    assert [record.getMessage() for record in caplog.records] == ["webhook dropped: the outbox is full"]


async def test_a_full_outbox_is_full_for_every_session(layer, monkeypatch):
    """Of those that are kept in several places, the number is known after a look at all."""
    monkeypatch.setattr("relay.layers.memory.outbox.MAX_NOTIFICATIONS", 2)
    monkeypatch.setattr("relay.layers.redis.outbox.MAX_NOTIFICATIONS", 2)
    for name in "ab":
        await end(layer, session_id=name)
    kept = await layer.outbox.take(100, LEASE)
    await end(layer, session_id="c")
    assert await taken(layer) == []
    await layer.outbox.remove(kept[0])
    assert await taken(layer) == []
    await end(layer, session_id="d")
    assert [session_id for _, session_id, _ in await taken(layer)] == ["d"]


async def test_an_erased_session_takes_its_notifications_with_it(layer):
    await end(layer)
    await end(layer)
    other = await end(layer, session_id="other")
    await layer.delete(S)
    assert await taken(layer) == [(other.turn_id, "other", "ended")]


async def test_a_session_that_expired_leaves_its_notifications(layer, store):
    turn = await end(layer)
    await store.advance(3601)
    assert await layer.get(S) is None
    assert await taken(layer) == [(turn.turn_id, S, "ended")]


async def test_a_session_that_is_deleted_after_it_expired_takes_its_notifications_out(layer, store):
    await end(layer)
    other = await end(layer, session_id=f"{S}2")
    await store.advance(3601)
    assert await layer.delete(S) is False
    assert await taken(layer) == [(other.turn_id, f"{S}2", "ended")]

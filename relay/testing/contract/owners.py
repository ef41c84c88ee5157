"""Ownership is checked in the store's own step: by the call that speaks, stops or reads, not only by ``attach``.

A client may be the former owner of a session that was deleted while it was connected, and not know it yet.
"""

import pytest

from relay.exceptions import LeaseLost, NotOwner, SessionDeleted
from relay.layers.bounds import Bounds
from relay.layers.values import CancelAck, CancelStatus
from relay.protocol.client_messages import OnBusy
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.testing.turns import S, answer, claim, cursor_at, enqueue, gap_at, log, say, start, stop, tailing

FORMER, OWNER = "alice", "bob"


@pytest.fixture
async def successor(layer, peer):
    """A session deleted while its owner was connected; it belongs to another subject. Returns its running turn."""
    await layer.attach(S, "former", FORMER)
    await answer(layer, "secret of the former", subject=FORMER)
    await peer.delete(S)
    await peer.attach(S, "owner", OWNER)
    return await start(peer, "secret of the owner", subject=OWNER)


@pytest.mark.parametrize("on_busy", OnBusy)
async def test_enqueue_by_the_former_owner_is_refused_and_changes_nothing(layer, peer, successor, on_busy):
    with pytest.raises(NotOwner):
        await enqueue(layer, "mine?", subject=FORMER, on_busy=on_busy)
    state = await peer.ensure(S)
    assert (state.queued, state.is_cancelling) == ((), False)


async def test_enqueue_by_the_former_owner_tells_nothing_of_known_names(layer, successor):
    await enqueue(layer, "named", client_message_id="one", subject=OWNER)
    for content in ("named", "other"):
        with pytest.raises(NotOwner):
            await enqueue(layer, content, client_message_id="one", subject=FORMER)


async def test_cancel_by_the_former_owner_is_refused_and_stops_nothing(layer, peer, successor):
    for turn_id in (None, successor.turn_id, "unknown"):
        with pytest.raises(NotOwner):
            await layer.cancel(S, turn_id, FORMER)
    await peer.renew(successor)


async def test_state_is_not_told_to_the_former_owner(layer, successor):
    for describe in (layer.ensure, layer.get):
        with pytest.raises(NotOwner):
            await describe(S, FORMER)


@pytest.mark.parametrize("after", [UNKNOWN, Cursor("other", 3)])
async def test_read_by_the_former_owner_is_refused_whatever_the_position(layer, successor, after):
    for position in (after, await cursor_at(layer, 0), await cursor_at(layer, 1), await cursor_at(layer, 9)):
        with pytest.raises(NotOwner):
            await layer.read(S, position, 10, FORMER)


@pytest.mark.parametrize("after", [UNKNOWN, Cursor("other", 3)])
async def test_tail_by_the_former_owner_is_refused_whatever_the_position(layer, successor, after):
    for position in (after, await cursor_at(layer, 0), await cursor_at(layer, 1)):
        async with tailing(layer, position, subject=FORMER) as tail:
            assert isinstance(await tail.raises(), NotOwner)
        assert tail.frames == []


async def test_tail_by_the_former_owner_is_refused_where_the_owner_is_watching_in_the_same_process(layer, successor):
    async with tailing(layer, await cursor_at(layer, 0), subject=OWNER) as owners:
        await say(layer, successor, "a")
        await owners.has(2)
        for after in (0, 1, 2):
            async with tailing(layer, await cursor_at(layer, after), subject=FORMER) as formers:
                assert isinstance(await formers.raises(), NotOwner)
            assert formers.frames == []


async def test_two_subjects_at_the_same_unknown_position_get_each_their_own_answer(layer, successor):
    """Viewers at the same place share a reading of the log; a snapshot is for its owner alone."""
    async with tailing(layer, UNKNOWN, subject=OWNER) as owners, tailing(layer, UNKNOWN, subject=FORMER) as formers:
        assert (await owners.raises()).snapshot.turn_id == successor.turn_id
        assert isinstance(await formers.raises(), NotOwner)


async def test_tail_of_the_former_owner_ends_with_its_session(layer, peer):
    await layer.attach(S, "former", FORMER)
    async with tailing(layer, await cursor_at(layer, 0), subject=FORMER) as tail:
        turn = await start(layer, subject=FORMER)
        await tail.has(1)
        await peer.delete(S)
        await peer.attach(S, "owner", OWNER)
        await answer(peer, "secret of the owner", subject=OWNER)
        assert isinstance(await tail.raises(), SessionDeleted)
        assert tail.shown == ["user:hi"]
    with pytest.raises(LeaseLost):
        await say(layer, turn, "x")


async def test_tail_of_the_former_owner_does_not_show_a_successor_whose_start_it_missed(store):
    """The session expired, so no viewer was notified; the frames that follow are another subject's."""
    short = await store.layer(Bounds(ttl_seconds=10, viewer_seconds=1))
    await answer(short, subject=FORMER)
    cursor = await cursor_at(short, 2)
    await store.advance(10)
    await short.attach(S, "owner", OWNER)
    await answer(short, "secret of the owner", subject=OWNER)
    async with tailing(short, cursor, subject=FORMER) as tail:
        assert isinstance(await tail.raises(), NotOwner)


async def test_the_owner_speaks_stops_and_reads(layer, successor):
    assert (await layer.ensure(S, OWNER)).active_turn_id == successor.turn_id
    assert len(await layer.read(S, await cursor_at(layer, 0), 10, OWNER)) == 1
    assert (await enqueue(layer, subject=OWNER)).status == "queued"
    ack = await layer.cancel(S, successor.turn_id, OWNER)
    assert ack == CancelAck(successor.turn_id, CancelStatus.CANCELLING)


async def test_a_service_has_no_subject_and_may_do_all_of_it(layer, successor):
    assert (await layer.ensure(S)).active_turn_id == successor.turn_id
    assert len(await layer.read(S, await cursor_at(layer, 0), 10)) == 1
    assert (await enqueue(layer)).status == "queued"
    assert (await layer.cancel(S, successor.turn_id)).status is CancelStatus.CANCELLING
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await tail.has(1)


@pytest.mark.parametrize("first", ["enqueue", "cancel", "ensure", "read", "tail"])
async def test_a_session_that_is_nobodys_belongs_to_the_first_subject_that_does_anything_in_it(layer, peer, first):
    await answer(layer)
    after = await cursor_at(layer, 0)
    match first:
        case "enqueue":
            await enqueue(layer, subject=OWNER)
        case "cancel":
            await layer.cancel(S, subject=OWNER)
        case "ensure":
            await layer.ensure(S, OWNER)
        case "read":
            await layer.read(S, after, 1, OWNER)
        case "tail":
            async with tailing(layer, after, subject=OWNER) as tail:
                await tail.has(2)
    with pytest.raises(NotOwner):
        await peer.attach(S, "former", FORMER)


async def test_a_session_that_a_message_begins_belongs_to_its_sender(layer, peer):
    await enqueue(layer, subject=OWNER)
    with pytest.raises(NotOwner):
        await peer.attach(S, "former", FORMER)
    await peer.attach(S, "owner", OWNER)


async def test_cancel_of_an_unknown_session_gives_it_no_owner(layer):
    assert (await layer.cancel(S, subject=FORMER)).status is CancelStatus.UNKNOWN
    await layer.attach(S, "owner", OWNER)


# The store comes back empty in the middle of a turn.


async def test_reset_gives_a_session_that_the_store_forgot_back_to_its_owner(store, layer, peer):
    await layer.attach(S, "former", FORMER)
    turn = await start(layer, subject=FORMER)
    await say(layer, turn, "secret")
    await store.forget(S)
    await layer.reset(turn, "secret")
    assert (await gap_at(layer, UNKNOWN)).text == "secret"
    with pytest.raises(NotOwner):
        await peer.attach(S, "other", OWNER)
    await peer.attach(S, "former", FORMER)


async def test_reset_of_what_a_service_asked_gives_the_session_back_to_its_owner(store, layer, peer):
    await layer.attach(S, "former", FORMER)
    turn = await start(layer)
    await store.forget(S)
    await layer.reset(turn, "secret")
    with pytest.raises(NotOwner):
        await peer.attach(S, "other", OWNER)


async def test_reset_is_refused_where_the_session_belongs_to_another_subject_now(store, layer, peer):
    await layer.attach(S, "former", FORMER)
    turn = await start(layer, subject=FORMER)
    await store.forget(S)
    await peer.attach(S, "owner", OWNER)
    with pytest.raises(LeaseLost):
        await layer.reset(turn, "secret")
    assert await log(peer) == []
    assert (await gap_at(peer, UNKNOWN)).text is None


async def test_turns_run_by_their_lease_whatever_subject_owns_the_session(layer):
    """A worker has no subject: it answers what was accepted."""
    await layer.attach(S, "owner", OWNER)
    await enqueue(layer, "a", subject=OWNER)
    await enqueue(layer, "b")
    for _ in range(2):
        await stop(layer, await claim(layer))
    assert await log(layer) == ["user:a", "final:stop", "user:b", "final:stop"]

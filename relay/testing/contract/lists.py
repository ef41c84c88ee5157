"""Lists of sessions."""

from relay.layers.bounds import Bounds
from relay.testing.turns import LEASE_SECONDS, S, answer, enqueue, start

BUSIEST = ["runs", "waits", "last", "second", "first"]


async def test_active_lists_every_session_once_a_page_a_call(layer):
    for i in range(7):
        await answer(layer, session_id=f"session {i}")
    for limit, pages in ((1, 7), (3, 3), (7, 1), (8, 1)):
        names, cursor, calls = [], "", 0
        while True:
            page, cursor = await layer.active(cursor, limit)
            names += [state.session_id for state in page]
            calls += 1
            if not cursor:
                break
        assert calls == pages
        assert sorted(names) == [f"session {i}" for i in range(7)]


async def test_active_describes_each_session_as_state_does(layer):
    await start(layer)
    assert await layer.active("", 10) == ([await layer.ensure(S)], "")


async def test_active_of_an_empty_store_is_empty(layer):
    assert await layer.active("", 10) == ([], "")


async def test_page_lists_as_active_does(layer):
    for i in range(5):
        await answer(layer, session_id=f"session {i}")
    cursor = ""
    for _ in range(2):
        states, following = await layer.active(cursor, 3)
        page = await layer.page(cursor, 3)
        assert (page.sessions, page.cursor, page.is_all) == (states, following, not following)
        assert page.warning == ""
        cursor = following


async def some_with_work(store):
    """Open a layer with sessions, so that those of ``BUSIEST`` are in this order."""
    layer = await store.layer(Bounds(lease_seconds=LEASE_SECONDS))
    for session_id in ("first", "second"):
        await answer(layer, session_id=session_id)
        await store.advance(0.25)
    await enqueue(layer, session_id="waits")
    await start(layer, session_id="runs")
    await store.advance(0.25)
    await answer(layer, session_id="last")
    await layer.ensure("empty")
    return layer


async def test_busiest_lists_running_turns_then_queued_messages_then_those_last_used(store):
    layer = await some_with_work(store)
    page = await layer.busiest(10)
    assert [state.session_id for state in page.sessions] == BUSIEST
    assert page.is_all
    assert page.sessions == [await layer.ensure(session_id) for session_id in BUSIEST]


async def test_busiest_lists_no_more_than_wanted(store):
    layer = await some_with_work(store)
    for limit in range(1, 6):
        page = await layer.busiest(limit)
        assert [state.session_id for state in page.sessions] == BUSIEST[:limit]
        assert page.is_all == (limit == len(BUSIEST))


async def test_busiest_finds_the_last_used_where_many_are_kept_together(store):
    layer = await store.layer(Bounds())
    names = [S, *store.beside(S, 9)]
    for session_id in names:
        await answer(layer, session_id=session_id)
        await store.advance(0.25)
    page = await layer.busiest(6)
    assert [state.session_id for state in page.sessions] == names[:3:-1]


async def test_busiest_of_an_empty_store_is_empty(layer):
    for page in (await layer.busiest(10), await layer.page("", 10)):
        assert (page.sessions, page.cursor, page.is_all) == ([], "", True)


async def test_busiest_leaves_out_sessions_that_have_expired(store):
    layer = await store.layer(Bounds(ttl_seconds=10))
    await answer(layer, session_id="expired")
    await store.advance(10)
    await answer(layer, session_id="kept")
    page = await layer.busiest(1)
    assert ([state.session_id for state in page.sessions], page.is_all) == (["kept"], True)

"""The busiest sessions of a layer that only has ``active``."""

from relay.layers import lists
from relay.layers.base import SessionLayer
from relay.testing import MemoryStore
from relay.testing.contract.lists import BUSIEST, some_with_work


async def test_any_layer_lists_its_busiest_sessions():
    store = MemoryStore()
    layer = await some_with_work(store)
    for limit in range(1, 7):
        page = await SessionLayer.busiest(layer, limit)
        assert [state.session_id for state in page.sessions] == BUSIEST[:limit]
        assert page.is_all == (limit >= len(BUSIEST))
        assert page.warning == ""
    await store.close()


async def test_no_more_than_the_first_ten_thousand_are_looked_at():
    store = MemoryStore()
    (state, *_), _ = await (await some_with_work(store)).active("", 10)
    await store.close()
    asked = []

    async def active(cursor, limit):
        asked.append(cursor)
        return [state] * limit, str(len(asked))

    page = await lists.busiest(active, 500)
    assert (len(page.sessions), page.is_all) == (500, False)
    assert asked == ["", *map(str, range(1, lists.MAX_LOOKED_AT // lists.PAGE))]

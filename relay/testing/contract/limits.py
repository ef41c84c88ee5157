"""``Limits``: rates, and things that may be used once."""

import pytest

from relay.layers.values import Rate

# A store may keep a bucket by real time for as long as the bucket needs to fill, so that has to outlast any test.
THREE_IN_TEN_MINUTES = Rate(3, 600.0)


async def take(limits, count, rate=THREE_IN_TEN_MINUTES, key="key"):
    return [await limits.take(key, rate) for _ in range(count)]


async def test_a_burst_of_count_is_let_through_and_one_more_must_wait(limits):
    assert await take(limits, 4) == [0, 0, 0, 200.0]


async def test_a_refused_take_takes_nothing(limits):
    assert await take(limits, 6) == [0, 0, 0, 200.0, 200.0, 200.0]


async def test_there_is_one_after_the_seconds_that_were_told_and_not_before(store, limits):
    await take(limits, 3)
    await store.advance(199.75)
    assert await take(limits, 1) == [0.25]
    await store.advance(0.25)
    assert await take(limits, 2) == [0, 200.0]


async def test_a_bucket_fills_up_to_count_and_no_further(store, limits):
    await take(limits, 3)
    await store.advance(100_000)
    assert await take(limits, 4) == [0, 0, 0, 200.0]


async def test_keys_have_buckets_of_their_own(limits):
    await take(limits, 3, key="one")
    assert await take(limits, 3, key="two") == [0, 0, 0]


async def test_over_a_long_time_the_rate_is_kept(store, limits):
    taken = 0
    for _ in range(600):
        taken += await limits.take("key", THREE_IN_TEN_MINUTES) == 0
        await store.advance(50)  # 30,000 s in all
    assert taken in (152, 153)  # the burst, then one every 200 s


@pytest.mark.parametrize("rate", [Rate(1, 1.0), Rate(1, 3600.0), Rate(0.5, 1.0), Rate(1_000, 1.0)])
async def test_an_empty_bucket_says_when_to_come_back(store, limits, rate):
    while not (seconds := await limits.take("key", rate)):
        if rate.count < 1:
            break
    assert 0 <= seconds <= rate.seconds / rate.count
    await store.advance(seconds)
    assert rate.count < 1 or await limits.take("key", rate) == 0


async def test_many_lapsed_buckets_do_not_disturb_a_live_one(store, limits):
    for i in range(100):
        await limits.take(f"old {i}", THREE_IN_TEN_MINUTES)
    await store.advance(600)
    await take(limits, 3)
    for i in range(100):
        await limits.take(f"new {i}", THREE_IN_TEN_MINUTES)
    assert await take(limits, 1) == [200.0]


async def test_a_thing_may_be_used_once(limits):
    assert [await limits.use_once("ticket", 10) for _ in range(3)] == [True, False, False]
    assert await limits.use_once("another", 10)


async def test_a_used_thing_is_remembered_for_its_time_and_no_longer(store, limits):
    await limits.use_once("ticket", 10)
    await store.advance(9.75)
    assert not await limits.use_once("ticket", 10)
    await store.advance(0.25)
    assert await limits.use_once("ticket", 10)


async def test_a_refused_use_does_not_prolong_the_first(store, limits):
    await limits.use_once("ticket", 10)
    await store.advance(5)
    assert not await limits.use_once("ticket", 10)
    await store.advance(5)
    assert await limits.use_once("ticket", 10)


async def test_long_lived_uses_outlast_many_short_ones(store, limits):
    await limits.use_once("long", 1_000)
    for i in range(200):
        await limits.use_once(f"short {i}", 1)
        await store.advance(2)
    assert not await limits.use_once("long", 1_000)


async def test_rates_and_uses_do_not_share_names(limits):
    await take(limits, 3, key="same")
    assert await limits.use_once("same", 10)


async def test_what_a_use_was_for_is_known_as_long_as_it_counts(store, limits):
    assert await limits.used_for("ticket") is None
    assert await limits.use_once("ticket", 10, "the first purpose")
    assert not await limits.use_once("ticket", 10, "another purpose")
    assert await limits.used_for("ticket") == "the first purpose"
    assert await limits.used_for("another") is None
    await store.advance(10)
    assert await limits.used_for("ticket") is None
    assert await limits.use_once("ticket", 10)
    assert await limits.used_for("ticket") == ""

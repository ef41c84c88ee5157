"""A store that answers, but not as a store should: calls are refused in time, and nothing else suffers."""

import asyncio
from functools import partial

import pytest

from relay.exceptions import StoreUnavailable
from tests.buffer.turns import LIMIT_SECONDS, S
from tests.faults.proxy import Proxy


class Babbler(Proxy):
    """Passes on what is asked, and garbage for an answer while it is told to."""

    is_babbling = True

    async def _pump(self, line, reader, writer, *, is_reply):
        while data := await reader.read(65_536):
            writer.write(b"?what\r\n" if is_reply and self.is_babbling else data)


@pytest.fixture
def open_layer(open_layer):
    return partial(open_layer, lease_seconds=0.5)


@pytest.mark.parametrize("denied", ["script", "client"])
async def test_a_user_who_may_not_do_all_of_it_is_refused_in_time(valkey, open_layer, denied):
    valkey.command("ACL", "SETUSER", denied, "on", ">secret", "~*", "&*", "+@all", f"-{denied}")
    valkey.command("SCRIPT", "FLUSH")
    layer = await open_layer(valkey.url.replace("redis://", f"redis://{denied}:secret@"))
    async with asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(StoreUnavailable):
            await layer.state(S)


async def test_calls_that_wait_behind_one_with_a_garbled_answer_are_not_forgotten(valkey, open_layer):
    async with Babbler(valkey.port) as babbler:
        layer = await open_layer(babbler.url)
        calls = [asyncio.ensure_future(layer.state(S))]
        await asyncio.sleep(0)  # it is under way
        calls.append(asyncio.ensure_future(layer.find(S)))
        async with asyncio.timeout(LIMIT_SECONDS):
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 2
        babbler.is_babbling = False
        async with asyncio.timeout(LIMIT_SECONDS):
            while (state := await state_of(layer)) is None:  # within so short a lease, a slow moment is an outage
                pass
        assert state.newest == 0


async def state_of(layer):
    """The session's state; ``None`` while the store is out of reach."""
    try:
        return await layer.state(S)
    except StoreUnavailable:
        return None

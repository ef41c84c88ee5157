"""A store that answers, but not as a store should: calls are refused in time, and nothing else suffers."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
from redis.asyncio import Redis

from relay.exceptions import StoreUnavailable
from relay.layers.values import new_id
from relay.testing.turns import LIMIT_SECONDS, S, answer, cursor_at, start, stop, tailing
from tests import scraping
from tests.clients import text_of
from tests.faults.conftest import running_cluster, until_served
from tests.faults.proxy import Proxy
from tests.http_clients import API, EventReader
from tests.processes import KEY

LEASE_SECONDS = 4.0  # where calls succeed before it has to run out, however slow the machine is
SHORT_LEASE_SECONDS = 0.5  # where no call has to succeed
PATIENT_LEASE_SECONDS = 60.0  # where it must not run out

RUNNER, OTHER = 0, 1  # the gateway that runs the turn; the one that only watches

ROOM_BYTES, STRANGERS = 400_000, 3_000  # a session that was kept would take half a kilobyte


class Babbler(Proxy):
    """Passes on what is asked, and garbage for an answer while it is told to."""

    is_babbling = True

    async def _pump(self, line, reader, writer, *, is_reply):
        while data := await reader.read(65_536):
            writer.write(b"?what\r\n" if is_reply and self.is_babbling else data)


@pytest.mark.parametrize("denied", ["script", "client"])
async def test_a_user_who_may_not_do_all_of_it_is_refused_in_time(valkey, open_layer, denied):
    valkey.command("ACL", "SETUSER", denied, "on", ">secret", "~*", "&*", "+@all", f"-{denied}")
    valkey.command("SCRIPT", "FLUSH")
    layer = await open_layer(
        valkey.url.replace("redis://", f"redis://{denied}:secret@"), lease_seconds=SHORT_LEASE_SECONDS
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(StoreUnavailable):
            await layer.ensure(S)


@pytest.mark.parametrize("how", ["full", "denied"])
async def test_what_a_store_refuses_again_and_again_is_logged_once_with_its_reason(valkey, open_layer, caplog, how):
    layer = await open_layer(valkey.url, lease_seconds=LEASE_SECONDS)
    await until_served(layer.check)
    if how == "full":
        fill(valkey)
    else:
        valkey.command("ACL", "SETUSER", "default", "-hset")
    before = scraping.here()
    for calls in (2, 3):  # each waits for the whole lease while the store is full
        refused = await asyncio.gather(*(layer.attach(S, "viewer") for _ in range(calls)), return_exceptions=True)
        assert [type(refusal) for refusal in refused] == [StoreUnavailable] * calls
    kind, line = {
        "full": ("unavailable", "store calls given up: it is full: give it more memory (maxmemory)"),
        "denied": (
            "refused",
            "store call refused: its user may not run 'hset': docs/deployment.md lists the permissions",
        ),
    }[how]
    assert [message for message in caplog.messages if "store" in message] == [line]
    assert scraping.here().since(before)[f'gateway_store_call_errors_total{{error="{kind}"}}'] == 5


async def test_calls_that_wait_behind_one_with_a_garbled_answer_are_not_forgotten(valkey, open_layer):
    async with Babbler(valkey.port) as babbler:
        layer = await open_layer(babbler.url, lease_seconds=SHORT_LEASE_SECONDS)
        calls = [asyncio.ensure_future(layer.ensure(S))]
        await asyncio.sleep(0)  # it is under way
        calls.append(asyncio.ensure_future(layer.get(S)))
        async with asyncio.timeout(LIMIT_SECONDS):
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 2
        babbler.is_babbling = False
        assert (await until_served(partial(layer.ensure, S))).newest == 0


# A store that can be read and takes no writes.


def fill(valkey):
    """Let there be no more room; give what makes room."""
    valkey.command("CONFIG", "SET", "maxmemory", "1")
    return "CONFIG", "SET", "maxmemory", "0"


def lose_replicas(valkey):
    """Want more replicas than there are; give what heals it."""
    valkey.command("CONFIG", "SET", "min-replicas-to-write", "1")
    return "CONFIG", "SET", "min-replicas-to-write", "0"


async def lose_disk(valkey):
    """Let a snapshot fail; give what heals it."""
    shutil.rmtree(valkey._folder)
    valkey.command("CONFIG", "SET", "save", '"3600 1"')
    valkey.command("BGSAVE")
    async with asyncio.timeout(LIMIT_SECONDS):
        while not valkey.command("SET", "any", "1").startswith("-MISCONF"):
            await asyncio.sleep(0.02)
    return "CONFIG", "SET", "stop-writes-on-bgsave-error", "no"


async def refuse_writes(valkey, how):
    healing = {"OOM": fill, "NOREPLICAS": lose_replicas, "MISCONF": lose_disk}[how](valkey)
    return await healing if asyncio.iscoroutine(healing) else healing


@pytest.mark.parametrize("how", ["OOM", "NOREPLICAS", "MISCONF"])
async def test_a_store_without_writes_ends_tails_after_the_lease_and_new_ones_go_on(valkey, open_layer, how):
    """Nobody writes here: the process finds out by itself."""
    layer = await open_layer(valkey.url, lease_seconds=LEASE_SECONDS)
    writer = await open_layer(valkey.url, lease_seconds=PATIENT_LEASE_SECONDS)
    turn = await start(writer)
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await tail.has(1)
        cursor = await cursor_at(layer, 1)
        healing = await refuse_writes(valkey, how)
        assert isinstance(await tail.raises(), StoreUnavailable)
    valkey.command(*healing)
    await stop(writer, turn)
    await until_served(partial(layer.attach, S, "viewer"))
    async with tailing(layer, cursor) as back:
        await back.has(1)
        assert back.shown == ["final:stop"]


@pytest.mark.parametrize("how", ["OOM", "NOREPLICAS"])
async def test_without_writes_everybody_is_sent_away_and_the_turn_ends_once_they_return(scripted_agent, how):
    """No heartbeat comes within the test: who only watches learns it from the process."""
    session_id, gate = f"unwritable-{how}", new_id()
    with running_cluster("serve", scripted_agent, HEARTBEAT_SECONDS="60") as cluster:
        async with cluster.open(RUNNER, session_id) as asking, cluster.open_plain(OTHER, session_id) as watching:
            await asking.say(f"script:tokens 20 delay=0.02 gate={gate}")
            text = text_of([await watching.frame() for _ in range(10)])
            async with events(cluster, OTHER, session_id) as stream:
                assert (await stream.frame())["type"] == "welcome"
                healing = await refuse_writes(cluster.valkey, how)
                cluster.open_gate(gate)
                for client in (asking, stream):
                    leaving = await client.frame_of("disconnect")
                    assert (leaving["code"], leaving["reconnect"]) == ("store_unavailable", True)
                assert await asking.close_code() == await watching.close_code() == 4503
            cluster.valkey.command(*healing)
            await cluster.becomes_ready(OTHER)
        async with cluster.open(OTHER, session_id, "offset=0") as back:
            frames = await back.turn()
            assert frames[-1].get("code") in ("store_unavailable", "interrupted")
            assert text_of(frames).startswith(text)
            assert await back.ask("again") == "again"
        assert cluster.asked(session_id) == 2


@asynccontextmanager
async def events(cluster, gateway, session_id):
    """A session's event stream."""
    address, key = cluster.gateways[gateway].http_url, {"X-Internal-Auth": KEY}
    async with (
        httpx.AsyncClient(base_url=address, headers=key, timeout=LIMIT_SECONDS, trust_env=False) as http,
        http.stream("GET", f"{API}/{session_id}/events") as response,
    ):
        yield EventReader(response.aiter_raw())


async def test_strangers_who_only_watch_do_not_fill_the_store(valkey, open_layer):
    """There is room for some hundred sessions; many times as many are opened and left, and a conversation goes on."""
    layer = await open_layer(valkey.url, lease_seconds=PATIENT_LEASE_SECONDS)
    await answer(layer)

    async def come_and_go(number):
        session_id = f"stranger {number}"
        await layer.attach(session_id, "viewer")
        await layer.ensure(session_id)
        await layer.detach(session_id, "viewer")

    async with Redis.from_url(valkey.url) as redis:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used + ROOM_BYTES)
        for number in range(0, STRANGERS, 50):
            await asyncio.gather(*map(come_and_go, range(number, number + 50)))
        await answer(layer, "still there?")
        assert (await redis.info("memory"))["used_memory"] < used + ROOM_BYTES
    assert (await layer.ensure(S)).newest == 4

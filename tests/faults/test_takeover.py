"""A worker is gone: another ends its turn and goes on with the queue. Three workers, the default lease."""

import asyncio
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager

import pytest
from websockets.exceptions import ConnectionClosedError

from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import new_id
from relay.testing.turns import answer, claim, enqueue, stop
from tests import processes, scraping
from tests.clients import V1, SocketClient, text_of
from tests.faults.gate import Gate
from tests.faults.returning_clients import ReturningClient, ReturningPlainClient
from tests.faults.valkey import Valkey

TAKEOVER_SECONDS = 60  # lease and sweep are 9 s at most
CLOSING = {"close_timeout": 0.2}  # a client that has not read everything would wait ten seconds
LONG = "script:distinct 2000 x delay=0.05"  # it is not over before its worker is stopped
LONG_TEXT = "".join(f"x-{number} " for number in range(2000))


class Workers:
    """Workers before one store."""

    def __init__(self, valkey, gateways):
        self.valkey = valkey
        self.gateways = gateways

    def open(self, session_id, worker, query=""):
        return ReturningClient(f"{self.gateways[worker].ws_url}/ws/{session_id}/?{query}", [V1], **CLOSING)

    def open_plain(self, session_id, worker):
        return ReturningPlainClient(f"{self.gateways[worker].ws_url}/ws/{session_id}/", **CLOSING)

    def status(self, worker, path):
        try:
            with urllib.request.urlopen(self.gateways[worker].http_url + path) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """In this block none of them takes what somebody else is about to take."""
        for gateway in self.gateways:
            gateway.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for gateway in self.gateways:
                gateway.signal(signal.SIGCONT)

    def leases_lost(self, worker):
        return scraping.scrape(self.gateways[worker].http_url)["gateway_leases_lost_total"]


@contextmanager
def running_workers(agent, valkey, *urls):
    """Workers that know the store by these addresses."""
    with ExitStack() as stack:
        settings = {"HEARTBEAT_SECONDS": "1", "DRAIN_SECONDS": "0"}
        gateways = [processes.gateway("serve", agent.http_url, REDIS_URL=url, **settings) for url in urls]
        stack.enter_context(processes.running(*gateways))
        yield Workers(valkey, gateways)
        for gateway in gateways:
            scraping.assert_nothing_wrong(gateway)


@pytest.fixture(scope="module")
def workers(scripted_agent):
    """Three workers; a test leaves them as it found them."""
    with Valkey(persistent=True) as valkey, running_workers(scripted_agent, valkey, *[valkey.url] * 3) as workers:
        yield workers


@pytest.fixture
def s():
    return new_id()


async def until_token(browser, text):
    """Read until a token. Returns the text so far."""
    seen = []
    while not seen or seen[-1].get("token") != text:
        seen.append(await browser.frame())
    return text_of(seen)


async def test_every_viewer_is_told_within_lease_and_sweep_and_the_queue_goes_on(workers, s):
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(workers.open(s, 0))
        viewers = [await stack.enter_async_context(workers.open(s, worker)) for worker in (1, 2)]
        plain = await stack.enter_async_context(workers.open_plain(s, 2))
        await asking.say(LONG)
        await asking.frame_of("accepted")
        await asking.say("queued")
        await asking.frame_of("accepted")
        texts = [await until_token(viewer, "x-9 ") for viewer in viewers]
        workers.gateways[0].kill()
        async with asyncio.timeout(TAKEOVER_SECONDS):
            ends = [await viewer.turn() for viewer in viewers]
            await plain.error()
        for text, frames in zip(texts, ends, strict=True):
            assert frames[-1]["code"] == "interrupted"
            assert LONG_TEXT.startswith(text + text_of(frames))
        assert [await viewer.answer() for viewer in (*viewers, plain)] == ["queued"] * 3
        assert await viewers[0].ask("next") == "next"
        await asyncio.to_thread(workers.gateways[0].start)
        async with workers.open(s, 0, "offset=0") as comer:  # the partial text is kept
            frames = await comer.turn()
            assert frames[-1]["code"] == "interrupted"
            assert text_of(frames) == texts[0] + text_of(ends[0])


@pytest.fixture
async def dead(workers):
    """A worker in this process, of which only the traces in the store will be left."""
    layer = RedisSessionLayer(workers.valkey.url, Bounds())
    await layer.start()
    yield layer
    await layer.close()


async def test_a_message_whose_worker_died_before_the_claim_is_answered(workers, dead, s):
    async with workers.open(s, 1) as viewer:
        await enqueue(dead, "hi", session_id=s)
        async with asyncio.timeout(TAKEOVER_SECONDS):
            assert await viewer.answer() == "hi"


async def test_a_message_whose_worker_died_before_the_next_claim_is_answered(workers, dead, s):
    async with workers.open(s, 1) as viewer:
        with workers.standing_still():
            await enqueue(dead, "one", session_id=s)
            turn = await claim(dead, s)
            await enqueue(dead, "two", session_id=s)
            await stop(dead, turn)
        async with asyncio.timeout(TAKEOVER_SECONDS):
            assert await viewer.answer() == ""
            assert await viewer.answer() == "two"


async def test_a_worker_that_died_after_the_claim_is_never_asked_again(workers, dead, s):
    with workers.standing_still():
        await answer(dead, "before", session_id=s)
    async with workers.open(s, 1) as viewer:
        with workers.standing_still():
            await enqueue(dead, "lost", session_id=s)
            await claim(dead, s)
        async with asyncio.timeout(TAKEOVER_SECONDS):
            assert (await viewer.turn())[-1]["code"] == "interrupted"


async def end_of(client: SocketClient) -> str | int:
    """Return the code of a turn's error, or of the close frame that came instead."""
    try:
        return str((await client.turn())[-1]["code"])
    except ConnectionClosedError as closed:
        return closed.rcvd.code if closed.rcvd is not None else 1006


async def test_a_paused_worker_writes_nothing_after_the_takeover_and_counts_it(workers, s):
    async with workers.open(s, 0) as asking, workers.open(s, 1) as watching:
        await asking.say(LONG)
        text = await until_token(watching, "x-5 ")
        workers.gateways[0].signal(signal.SIGSTOP)
        async with asyncio.timeout(TAKEOVER_SECONDS):
            frames = await watching.turn()
        assert frames[-1]["code"] == "interrupted"
        text += text_of(frames)
        workers.gateways[0].signal(signal.SIGCONT)
        assert await end_of(asking) in ("interrupted", 4503)  # it may find that a reply of the store came too late
        async with asyncio.timeout(TAKEOVER_SECONDS):
            while not await asyncio.to_thread(workers.leases_lost, 0):
                await asyncio.sleep(0.05)
        async with workers.open(s, 2, "offset=0") as comer:
            assert text_of(await comer.turn()) == text
        assert await watching.ask("next") == "next"


async def test_a_worker_that_is_cut_off_from_the_store_loses_its_turn_and_sends_its_viewers_away(scripted_agent, s):
    with Valkey() as valkey:
        async with Gate(valkey.port) as gate, AsyncExitStack() as stack:
            running = running_workers(scripted_agent, valkey, gate.url, valkey.url)
            workers = await asyncio.to_thread(running.__enter__)
            stack.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
            await _cut_off(workers, gate, s)


async def _cut_off(workers, gate, s):
    async with workers.open(s, 0) as asking, workers.open(s, 1) as watching:
        await asking.say(LONG)
        for browser in (asking, watching):
            await until_token(browser, "x-5 ")
        gate.shut()
        async with asyncio.timeout(2 * TAKEOVER_SECONDS):
            assert (await watching.turn())[-1]["code"] == "interrupted"
            assert (await asking.frame_of("disconnect"))["code"] == "store_unavailable"
            assert await asking.close_code() == 4503
        assert await watching.ask("meanwhile") == "meanwhile"
        gate.open()
    async with asyncio.timeout(TAKEOVER_SECONDS):
        while await asyncio.to_thread(workers.status, 0, "/ready") != 200:
            await asyncio.sleep(0.05)
    async with workers.open(s, 0) as back:
        await back.frame_of("welcome")
        assert await back.ask("back") == "back"


@pytest.mark.soak
async def test_a_store_that_is_frozen_for_thirty_seconds_sends_viewers_away_and_ends_every_turn(workers, s):
    async with workers.open(s, 0) as asking, workers.open(s, 1) as watching:
        await asking.say("script:distinct 1000 x delay=0.05")
        text = await until_token(watching, "x-5 ")
        workers.valkey.signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(30, workers.valkey.signal, signal.SIGCONT)
        for browser in (asking, watching):
            assert (await browser.frame_of("disconnect"))["code"] == "store_unavailable"
            assert await browser.close_code() == 4503
        await asyncio.sleep(30)
    async with workers.open(s, 2, "offset=0") as back:
        frames = await back.turn()
        assert frames[-1]["code"] in ("store_unavailable", "interrupted")
        assert text_of(frames).startswith(text[:-5])
        assert await back.ask("next") == "next"

"""A store whose user may do what docs/deployment.md says: all goes well; with less, everybody is told so in words."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from redis import Redis
from websockets.exceptions import InvalidStatus

from relay.exceptions import StoreUnavailable
from relay.testing.turns import LIMIT_SECONDS, S
from tests import processes
from tests.clients import V1, SocketClient
from tests.faults.conftest import Cluster, until_served
from tests.faults.valkey import Valkey
from tests.http_clients import API, EventReader
from tests.processes import KEY, ROOT

USER, PASSWORD = "gateway", "a-long-password"
_LINE = re.search(r"ACL SETUSER gateway [^`]*", (ROOT / "docs" / "deployment.md").read_text())
ACL = _LINE[0].split() if _LINE else []
COSMETIC = {"+info", "+client|setinfo", "+cluster|slots"}
ONLY_FOR_GROUPS = {"+publish", "+subscribe", "+unsubscribe"}
NEEDED = [word for word in ACL if word[0] in "+~&" and word not in COSMETIC | ONLY_FOR_GROUPS]
ONLY_WHEN_CONNECTING = {"+select", "+client|setname"}


def without(right):
    """What takes a right away again."""
    return {"~": "resetkeys", "&": "resetchannels", "+": f"-{right[1:]}"}[right[0]]


def address(valkey):
    return f"redis://{USER}:{PASSWORD}@127.0.0.1:{valkey.port}/1"


@pytest.fixture(scope="module")
def restricted():
    """A store with the documented user."""
    with Valkey() as valkey:
        yield valkey


@pytest.fixture(autouse=True)
def documented(restricted):
    assert restricted.command(*ACL[:2], USER, "reset") == "+OK"
    assert restricted.command(*ACL) == "+OK"


def refuse(valkey, *changes):
    assert valkey.command("ACL", "SETUSER", USER, *changes) == "+OK"


async def refusal(check):
    """Make a check until it fails; give the reason."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                await check()
            except StoreUnavailable as exc:
                if exc.reason:
                    return exc.reason
            await asyncio.sleep(0.02)


SHORT_LEASE_SECONDS = 0.5  # for one that is refused; what has to succeed is asked until it does


async def check_all(layer):
    await layer.check()
    await layer.check_announcements()


async def test_the_documented_rights_pass_every_check(restricted, open_layer):
    layer = await open_layer(address(restricted))
    await until_served(partial(check_all, layer))


@pytest.mark.parametrize("right", NEEDED)
async def test_a_right_that_is_missing_from_the_start_is_named(restricted, open_layer, right):
    refuse(restricted, without(right))
    restricted.command("SCRIPT", "FLUSH")
    layer = await open_layer(address(restricted), lease_seconds=SHORT_LEASE_SECONDS)
    reason = await refusal(partial(check_all, layer))
    assert "its user may not" in reason
    if not right.startswith(("~", "&", "+@")):
        assert f"'{right[1:]}'" in reason


@pytest.mark.parametrize("right", [right for right in NEEDED if right not in ONLY_WHEN_CONNECTING])
async def test_a_right_that_is_taken_away_is_named_and_given_back_heals(restricted, open_layer, right):
    layer = await open_layer(address(restricted), lease_seconds=SHORT_LEASE_SECONDS)
    await until_served(partial(check_all, layer))
    refuse(restricted, without(right))
    assert "its user may not" in await refusal(partial(check_all, layer))
    refuse(restricted, right)
    await until_served(partial(check_all, layer))


@pytest.mark.parametrize("has_slots", [True, False])
async def test_a_cluster_behind_a_plain_address_is_named(open_layer, has_slots):
    with Valkey("--cluster-enabled", "yes") as valkey:
        if has_slots:
            valkey.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        layer = await open_layer(valkey.url, lease_seconds=SHORT_LEASE_SECONDS)
        assert "it is a cluster" in await refusal(layer.check)
        with pytest.raises(StoreUnavailable):
            await layer.ensure(S)


def test_the_check_runs_every_command_of_the_scripts():
    folder = ROOT / "relay" / "layers" / "redis" / "lua"
    used = {path.stem: commands(path) for path in folder.glob("*.lua")}
    assert used["check"] == set.union(*used.values())


def commands(path: Path) -> set[str]:
    text = path.read_text()
    return {name for call in re.findall(r"\bcall\([^,)]*", text) for name in re.findall(r"'([A-Z]+)'", call)}


@asynccontextmanager
async def events(url, session_id):
    """A session's event stream."""
    async with (
        httpx.AsyncClient(
            base_url=url, headers={"X-Internal-Auth": KEY}, timeout=LIMIT_SECONDS, trust_env=False
        ) as http,
        http.stream("GET", f"{API}/{session_id}/events") as response,
    ):
        yield EventReader(response.aiter_raw())


def ask(url, method, path, body=None):
    """A request to the API. Returns the status and the body."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-Internal-Auth": KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_conversation_with_two_workers_needs_no_more_than_the_documented_rights(restricted, scripted_agent):
    with ExitStack() as stack:
        settings = {"REDIS_URL": address(restricted), "HEARTBEAT_SECONDS": "1"}
        gateways = [processes.gateway("serve", scripted_agent.http_url, **settings) for _ in range(2)]
        stack.enter_context(processes.running(*gateways))
        cluster = Cluster(restricted, scripted_agent, gateways)
        restricted.command("ACL", "LOG", "RESET")
        for gateway in (0, 1):
            await cluster.becomes_ready(gateway)
        async with cluster.open(0, "acl") as asking, cluster.open(1, "acl") as watching:
            await asking.say("hello", client_message_id="one")
            assert await watching.answer() == await asking.answer() == "hello"
            await asking.say("script:tokens 500 delay=0.05")
            await watching.frame_of("assistant_message")
            await watching.say("next", on_busy="interrupt")
            assert (await asking.turn())[-1]["finish_reason"] == "cancelled"
            assert await asking.answer() == "next"
            await asking.cancel()
            await watching.frame_of("ping")
            url = gateways[1].http_url
            assert (await asyncio.to_thread(ask, url, "DELETE", f"{API}/acl/queue"))[0] == 200
            assert "acl" in (await asyncio.to_thread(ask, url, "GET", API))[1]
            words = {"content": "to everybody"}
            assert (await asyncio.to_thread(ask, url, "POST", "/api/v1/notice", words))[0] == 202
            assert (await asking.frame_of("notice"))["content"] == "to everybody"
            assert (await asyncio.to_thread(ask, url, "DELETE", f"{API}/acl"))[0] == 204
            assert (await asking.frame_of("disconnect"))["code"] == "session_deleted"
    with Redis.from_url(restricted.url) as redis:
        assert redis.acl_log() == []


async def test_what_a_store_refuses_is_said_in_words_at_every_entrance_and_never_500(restricted, scripted_agent):
    refuse(restricted, "-@hash")
    gateway = processes.gateway("serve", scripted_agent.http_url, REDIS_URL=address(restricted))
    with gateway:
        cluster = Cluster(restricted, scripted_agent, [gateway])
        body = ""
        async with asyncio.timeout(LIMIT_SECONDS):
            while "its user may not run '" not in body:  # in a slow moment the check has no time to find out
                status, body = await asyncio.to_thread(ask, gateway.http_url, "GET", "/ready")
                assert (status, json.loads(body)["checks"]["store"]["ok"]) == (503, False)
        message = {"content": "hi"}
        status, body = await asyncio.to_thread(ask, gateway.http_url, "POST", f"{API}/refused/messages", message)
        assert (status, json.loads(body)["code"]) == (503, "store_unavailable")
        async with SocketClient(f"{gateway.ws_url}/ws/refused/", [V1]) as browser:
            assert (await browser.frame())["code"] == "store_unavailable"
            assert await browser.close_code() == 4503
        with pytest.raises(InvalidStatus, match="403"):
            async with SocketClient(f"{gateway.ws_url}/ws/refused/"):
                pass
        async with events(gateway.http_url, "refused") as stream:
            entry = await stream.entry()
            assert (entry.frame["code"], entry.frame["reconnect"]) == ("store_unavailable", True)
            assert int(entry.fields["retry"]) >= 1_000
        refuse(restricted, "+@hash")
        await cluster.becomes_ready(0)
        async with SocketClient(f"{gateway.ws_url}/ws/refused/", [V1]) as browser:
            assert await browser.ask("hello") == "hello"
        assert "Traceback" not in gateway.output()
        assert PASSWORD not in gateway.output()

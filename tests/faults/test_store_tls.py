"""A store behind TLS: it works, and where it does not, the cause is named to operators."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest

from relay.exceptions import StoreUnavailable
from relay.management.doctor_store import examine_store
from relay.management.finding import Level
from relay.testing.turns import LIMIT_SECONDS, answer
from tests import processes
from tests.e2e.test_doctor import run
from tests.faults.certificates import DAY, Authority
from tests.faults.conftest import until_served
from tests.faults.node_gates import UNKNOWN_HOSTS, NodeGates
from tests.faults.proxy import Proxy
from tests.faults.valkey import Valkey
from tests.faults.valkey_cluster import SLOTS, ValkeyCluster

CAUSES = {
    "expired": "its TLS certificate has expired",
    "another host": "its TLS certificate is for another host",
    "unknown authority": "its TLS certificate is from an authority that is not trusted here",
    "no TLS": "it does not speak TLS, but its address starts with rediss://",
    "TLS unasked": "does it require TLS (rediss://)?",
}


@pytest.fixture(scope="module")
def valkey():
    with Valkey() as valkey:
        yield valkey


@asynccontextmanager
async def store(valkey, folder, trouble=""):
    """A store that speaks TLS, but for what is the trouble with it; give its address."""
    authority = Authority(folder)
    trusted = Authority(folder, "another") if trouble == "unknown authority" else authority
    host = "127.0.0.2" if trouble == "another host" else "127.0.0.1"
    tls = authority.context(host, -DAY if trouble == "expired" else DAY)
    async with Proxy(valkey.port, tls=None if trouble == "no TLS" else tls) as proxy:
        scheme = "redis" if trouble == "TLS unasked" else "rediss"
        options = "" if trouble == "TLS unasked" else f"?ssl_ca_certs={trusted.path}"
        yield f"{scheme}://127.0.0.1:{proxy.port}/0{options}"


async def test_a_store_that_speaks_tls_carries_turns(valkey, open_layer, tmp_path):
    async with store(valkey, tmp_path) as url:
        layer = await open_layer(url)
        await until_served(layer.check)
        await until_served(layer.check_announcements)
        await answer(layer, "hi", "a")


@pytest.mark.parametrize("trouble", CAUSES)
async def test_what_is_wrong_with_tls_is_named_by_every_check_and_in_the_log(
    valkey, open_layer, tmp_path, caplog, trouble
):
    async with store(valkey, tmp_path, trouble) as url:
        layer = await open_layer(url, lease_seconds=2.0)
        for check in (layer.check, layer.check_announcements):
            async with asyncio.timeout(LIMIT_SECONDS):
                while CAUSES[trouble] not in await refusal(check):  # a plain server is known by its silence
                    pass
        with pytest.raises(StoreUnavailable):
            await layer.ensure("s")
    assert [line for line in caplog.messages if CAUSES[trouble] in line]


async def test_a_cluster_that_speaks_tls_carries_turns_and_groups_to_each_node(open_layer, tmp_path):
    """Every node is reached by TLS: those of the address, and those that are found, also where a call is sent on."""
    authority, host = Authority(tmp_path), "127.0.0.4"
    with ValkeyCluster(*UNKNOWN_HOSTS, replicas=0) as cluster:
        async with NodeGates(cluster, host, tls=authority.context(host)) as gates:
            url = f"{gates.url}?ssl_ca_certs={authority.path}"
            layer = await open_layer(url)
            await until_served(layer.check)
            await until_served(layer.check_announcements)
            assert {finding.level async for finding in examine_store(url)} == {Level.OK}
            for _ in range(2):
                for number in range(20):
                    await answer(layer, "hi", "a", session_id=f"session-{number}")
                await asyncio.to_thread(cluster.move_slots, 0, SLOTS // 2, cluster.nodes[2])
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            await layer.group_send("group", {"type": "a"})
            async with asyncio.timeout(LIMIT_SECONDS):
                assert await layer.receive(channel) == {"type": "a"}
            stranger = await open_layer(f"{gates.url}?ssl_ca_certs={Authority(tmp_path, 'another').path}")
            async with asyncio.timeout(LIMIT_SECONDS):
                while CAUSES["unknown authority"] not in await refusal(stranger.check):
                    pass


async def refusal(check):
    """Why a check fails."""
    with pytest.raises(StoreUnavailable) as refused:
        await check()
    return refused.value.reason


@pytest.mark.parametrize("trouble", ["expired", "no TLS"])
async def test_ready_and_doctor_name_it(valkey, scripted_agent, tmp_path, trouble):
    async with store(valkey, tmp_path, trouble) as url:
        settings = {"REDIS_URL": url, "LEASE_SECONDS": "2"}
        gateway = processes.gateway("serve", scripted_agent.http_url, **settings)
        finding = asyncio.create_task(until_found(scripted_agent.http_url, url, CAUSES[trouble]))
        await asyncio.to_thread(gateway.start)
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while CAUSES[trouble] not in await asyncio.to_thread(detail, gateway):
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(gateway.__exit__)
        await finding


async def until_found(agent_url, url, cause):
    """Let the doctor look until it finds this cause: a plain server is known by a quick answer."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while cause not in (await asyncio.to_thread(doctor, agent_url, url))["store"]:
            pass


def detail(gateway):
    """What ``/ready`` says of the store, which is red."""
    with pytest.raises(urllib.error.HTTPError) as unready:
        urllib.request.urlopen(f"{gateway.http_url}/ready", timeout=60)
    return json.load(unready.value)["checks"]["store"]["detail"]


def doctor(agent_url, url):
    """What ``doctor`` finds, by subject."""
    env = {"AGENT_URL": agent_url, "TRANSCRIPTS": "false", "REDIS_URL": url}
    done = run("--json", **env)
    return {entry["subject"]: entry["words"] for entry in map(json.loads, done.stdout.splitlines())}

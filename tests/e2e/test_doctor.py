"""``manage.py doctor`` against real parts: what is well, and for each thing that is not, what to do."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from channels.layers import channel_layers

from relay.layers.redis import RedisSessionLayer
from relay.management import doctor, doctor_agent, doctor_store
from relay.management.doctor import examine
from relay.management.finding import Level
from tests import processes
from tests.certificates import certificate
from tests.clients import LIMIT_SECONDS
from tests.faults.valkey import Valkey
from tests.identity_provider import IdentityProvider
from tests.processes import KEY
from tests.scripted_agent import PATH, ScriptedAgent, Status
from tests.tcp_server import TcpServer


def run(*arguments, **settings):
    """Run the command in an environment."""
    given = {"INTERNAL_API_KEY": KEY, **settings}
    return processes.manage("doctor", *arguments, **{f"GATEWAY__{name}": value for name, value in given.items()})


@pytest.fixture
def look(settings, demo_agent, monkeypatch):
    """Look in this process, with other settings; give what is not well, by subject. A loaded machine is well."""
    for module in (doctor, doctor_agent, doctor_store):
        monkeypatch.setattr(module, "LIMIT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(doctor_agent, "HANDSHAKE_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(doctor_store, "SLOW_SECONDS", LIMIT_SECONDS)

    async def examined(**texts):
        given = {"AGENT_URL": demo_agent.http_url, "TRANSCRIPTS": "false", "LEASE_SECONDS": str(LIMIT_SECONDS), **texts}
        settings.GATEWAY = {**settings.GATEWAY, **given}
        if url := texts.get("REDIS_URL"):
            backend = {"BACKEND": "relay.layers.redis.RedisSessionLayer", "CONFIG": {"url": url}}
            settings.CHANNEL_LAYERS = {"default": backend}
        channel_layers.backends = {}
        found = [finding async for finding in examine()]
        return {finding.subject: finding for finding in found if finding.level is not Level.OK}

    yield examined
    channel_layers.backends = {}


def test_the_command_where_all_is_well(demo_agent, tmp_path):
    with Valkey() as valkey:
        env = {"AGENT_URL": demo_agent.http_url, "REDIS_URL": valkey.url, "TRANSCRIPTS": "false"}
        done = run("--json", **env)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {entry["level"] for entry in found if "per round trip" not in entry["words"]} == {"ok"}  # they may be slow
    assert {entry["subject"] for entry in found} == {"settings", "agent", "store", "sessions", "database"}


def test_the_command_for_people_where_something_is_wrong(tmp_path):
    done = run(AGENT_URL="http://127.0.0.1:9", DATABASE_URL=f"sqlite:///{tmp_path}/db")
    assert done.returncode == 1
    shown = done.stdout
    assert "problem  agent: no answer from 127.0.0.1:9" in shown
    assert "\n         → Is it running?" in shown
    assert "→ Run: python manage.py migrate" in shown
    assert done.stderr.strip() == "CommandError: 2 problems found."


def test_the_command_with_a_wrong_setting_looks_no_further():
    done = run("--deploy", MAX_QUEUE="many")
    assert done.returncode == 1
    assert "GATEWAY__MAX_QUEUE must be a whole number" in done.stdout
    assert "agent" not in done.stdout


async def test_in_memory_there_is_no_store_to_look_at(look):
    assert await look() == {}


async def test_an_agent_with_another_key(look):
    finding = (await look(INTERNAL_API_KEY="another-key"))["agent"]
    assert (finding.level, finding.words) == (Level.PROBLEM, "refuses the gateway's key (401)")
    assert "the same key" in finding.advice
    assert "another-key" not in finding.words + finding.advice


async def test_an_agent_that_takes_any_key(look, scripted_agent):
    finding = (await look(AGENT_URL=scripted_agent.http_url))["agent"]
    assert (finding.level, finding.words) == (Level.WARNING, "accepts messages with any key")


async def test_an_agent_that_is_elsewhere(look, demo_agent):
    finding = (await look(AGENT_URL=f"{demo_agent.http_url}/nowhere"))["agent"]
    assert (finding.level, finding.words) == (Level.PROBLEM, "has no /nowhere/agent/message/stream (404)")


async def test_an_agent_of_another_protocol_is_asked_in_its_words(look):
    async with ScriptedAgent() as agent:
        agent.script = [Status(401)]
        others = {"AGENT_URL": agent.url, "AGENT_PROTOCOL": "openai", "AGENT_API_KEY": "s3cret-key"}
        absent = (await look(**others))["agent"]
        agent.script = [Status(401)]
        finding = (await look(**others, AGENT_PATH=PATH))["agent"]
        asked = agent.requests[-1]
    assert absent.words == "has no /v1/chat/completions (404)"
    assert "GATEWAY__AGENT_PATH" in absent.advice
    assert asked.headers["authorization"] == "Bearer s3cret-key"
    assert "x-internal-auth" not in asked.headers
    assert finding.words == "refuses the gateway's key (401)"
    assert "GATEWAY__AGENT_API_KEY" in finding.advice
    assert "s3cret-key" not in finding.words + finding.advice


async def test_an_agent_whose_name_is_not_known(look):
    finding = (await look(AGENT_URL="http://agent.invalid:8001"))["agent"]
    assert finding.words == "no answer from agent.invalid:8001 (its name is not known to DNS)"


def test_one_real_answer_is_shown_frame_by_frame(demo_agent):
    done = run("--say", "count to 3", AGENT_URL=demo_agent.http_url, TRANSCRIPTS="false")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert "".join(frame["token"] for frame in shown) == "1 2 3"
    assert shown[-1] == {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": "stop"}


def test_an_answer_that_fails_is_a_problem(demo_agent):
    done = run("--say", "error", AGENT_URL=demo_agent.http_url, TRANSCRIPTS="false")
    assert done.returncode == 1
    *_, last, finding = done.stdout.splitlines()
    error = json.loads(last)
    assert (error["type"], error["code"]) == ("error", "upstream_error")
    assert finding == f"problem  agent: does not answer (200 text/event-stream; charset=utf-8): {error['content']}"
    assert done.stderr.strip() == "CommandError: 1 problem found."


@contextmanager
def refusing_agent():
    """An agent that takes the key of an empty message, and answers no other."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(422 if body == b"{}" else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"error":{"message":"No model x for sk-wrong-key"}}')

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_an_agent_that_refuses_is_told_in_its_own_words():
    with refusing_agent() as url:
        done = run(
            "--say", "x", AGENT_URL=url, AGENT_PROTOCOL="openai", AGENT_API_KEY="sk-wrong-key", TRANSCRIPTS="false"
        )
    words = "does not answer (404 application/json): No model x for [removed]"
    assert done.stdout.splitlines()[-1] == f"problem  agent: {words}"


async def test_an_agent_with_a_certificate_that_is_not_trusted(look, tmp_path):
    tls = certificate(tmp_path / "shown.pem")
    async with TcpServer(tls=tls) as agent:
        address = f"localhost:{agent.port}"
        finding = (await look(AGENT_URL=f"https://{address}"))["agent"]
    words = f"{address} responds, but its certificate is self-signed, which is not trusted here"
    assert (finding.level, finding.words) == (Level.PROBLEM, words)
    assert "SSL_CERT_FILE" in finding.advice


async def test_an_agent_without_tls_behind_https(look, demo_agent, monkeypatch):
    monkeypatch.setattr(doctor_agent, "HANDSHAKE_SECONDS", 0.5)
    finding = (await look(AGENT_URL=demo_agent.http_url.replace("http:", "https:")))["agent"]
    assert finding.words.endswith("so it may not speak TLS")  # it waits for the end of what is no request
    assert "http://" in finding.advice


async def test_a_store_that_does_not_answer(look):
    address = f"127.0.0.1:{processes.free_port()}"
    found = await look(REDIS_URL=f"redis://user:a-password@{address}/0")
    assert set(found) == {"store", "sessions"}
    assert found["store"].words == f"{address} cannot be used: no server is listening at its address"
    assert found["sessions"].words == "cannot be kept in the store: no server is listening at its address"
    assert "a-password" not in str(found)


async def test_a_store_that_does_not_say_how_it_is(look):
    with Valkey() as valkey:
        valkey.command("ACL", "SETUSER", "default", "-info")
        found = await look(REDIS_URL=valkey.url)
    assert "refuses the commands of this check" in found["store"].words
    assert "+info" in found["store"].advice


async def test_a_store_that_forgets_and_does_not_let_us_subscribe(look):
    with Valkey() as valkey:
        valkey.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        valkey.command("ACL", "SETUSER", "default", "resetchannels")
        found = await look(REDIS_URL=valkey.url)
    assert found["store"].words == "its maxmemory-policy is allkeys-lru"
    assert "its user may not use the gateway's channels" in found["sessions"].words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["CONFIG", "SET", "maxmemory", "1"], "it is full: give it more memory (maxmemory)"),
        (["CONFIG", "SET", "min-replicas-to-write", "1"], "it has fewer replicas than it must have (NOREPLICAS)"),
        (["REPLICAOF", "127.0.0.1", "1"], "it is a read-only replica (READONLY)"),
        (["ACL", "SETUSER", "default", "-evalsha"], "its user may not run 'evalsha'"),
        (["ACL", "SETUSER", "default", "-spublish"], "its user may not run 'spublish'"),
        (["ACL", "SETUSER", "default", "resetkeys", "~other*"], "its user may not use the gateway's keys"),
    ],
)
async def test_a_store_that_cannot_serve_turns(look, command, words):
    with Valkey() as valkey:
        valkey.command(*command)
        found = await look(REDIS_URL=valkey.url)
    assert set(found) == {"sessions"}
    assert found["sessions"].words.startswith(f"cannot be kept in the store: {words}")


@pytest.mark.parametrize("name", ["check", "check_announcements"])
async def test_a_slow_store_is_given_more_time_than_a_probe_has(look, monkeypatch, name):
    check, checks = getattr(RedisSessionLayer, name), []

    async def check_frozen_once(layer):
        checks.append(layer)
        if len(checks) == 1:
            valkey.signal(signal.SIGSTOP)
        try:
            await check(layer)
        finally:
            valkey.signal(signal.SIGCONT)

    monkeypatch.setattr(RedisSessionLayer, name, check_frozen_once)
    with Valkey() as valkey:
        assert await look(REDIS_URL=valkey.url) == {}
    assert len(checks) > 1


async def test_a_store_with_another_password(look):
    with Valkey() as valkey:
        valkey.command("ACL", "SETUSER", "default", "resetpass", ">another")
        found = await look(REDIS_URL=valkey.url)
    assert found["store"].words.endswith("cannot be used: it does not accept the user or the password")


async def test_a_store_that_is_a_cluster(look):
    with Valkey("--cluster-enabled", "yes") as valkey:
        valkey.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        found = await look(REDIS_URL=valkey.url)
    assert "it is a cluster" in found["sessions"].words


async def test_an_identity_provider_that_gives_its_keys(look):
    async with IdentityProvider() as provider:
        assert await look(WS_AUTH="jwt", JWKS_URL=provider.url) == {}


@pytest.mark.parametrize(
    ("status", "published", "words"),
    [
        (503, ["rsa"], "does not provide its keys (HTTP 503)"),
        (200, [], "provides no keys that can sign tokens (RS256 or ES256): PyJWKSetError"),
    ],
)
async def test_an_identity_provider_without_keys(look, status, published, words):
    async with IdentityProvider() as provider:
        provider.status, provider.published = status, published
        finding = (await look(WS_AUTH="jwt", JWKS_URL=provider.url))["identity provider"]
    assert (finding.level, finding.words) == (Level.PROBLEM, words)


@pytest.mark.parametrize(
    ("host", "cause"),
    [("127.0.0.1:1", "the connection is refused"), ("provider.invalid", "its name is not known to DNS")],
)
async def test_an_identity_provider_that_does_not_answer(look, host, cause):
    finding = (await look(WS_AUTH="jwt", JWKS_URL=f"http://{host}/keys"))["identity provider"]
    assert finding.words == f"does not provide its keys ({cause})"

"""The end of a process: nobody's answer is lost without a word, and nobody's line is cut."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests import processes
from tests.clients import V1, SocketClient, text_of
from tests.server.conftest import until

RESTART = 1012


@pytest.fixture
def server() -> str:
    """A case may ask for another, by its parameter."""
    return "serve"


both = pytest.mark.parametrize("server", ["serve", "runserver"])


@pytest.fixture
def service(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway(server, scripted_agent.http_url, DRAIN_SECONDS="60", HEARTBEAT_SECONDS="1") as gateway:
        yield gateway


@pytest.fixture
def hasty(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway that gives answers half a second to finish."""
    with processes.gateway(server, scripted_agent.http_url, DRAIN_SECONDS="0.5") as gateway:
        yield gateway


def plain(service: processes.Process, session_id: str) -> SocketClient:
    return SocketClient(f"{service.ws_url}/ws/{session_id}/")


def v1(service: processes.Process, session_id: str) -> SocketClient:
    return SocketClient(f"{service.ws_url}/ws/{session_id}/", [V1])


async def stopping(service: processes.Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal and wait until the process has heard it."""
    service.signal(number)
    await until(lambda: "stopping" in service.output())


async def go_on(agent: processes.Process, gate: str) -> None:
    """Let the answers go on that wait at a gate of the agent."""
    (await asyncio.to_thread(urllib.request.urlopen, f"{agent.http_url}/open/{gate}", timeout=60)).close()


async def exit_code(service: processes.Process) -> int:
    """Wait for the process; it must not take the whole drain time, which is longer than the wait."""
    return await asyncio.to_thread(service.wait)


async def begin_answer(client: SocketClient, script: str) -> None:
    await client.say(f"script:{script}")
    while (await client.frame()).get("token") != "0 ":
        pass


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_idle_clients_are_told_to_come_back_and_closed_1012(service, number):
    async with plain(service, "p") as old, v1(service, "v") as new:
        await new.frame_of("welcome")
        await stopping(service, number)
        disconnect_frame = await new.frame_of("disconnect")
        assert (disconnect_frame["code"], disconnect_frame["reconnect"]) == ("server_restart", True)
        assert disconnect_frame["delay_ms"] > 0
        assert (await new.close_code(), await old.close_code()) == (RESTART, RESTART)
    assert await exit_code(service) == 0
    assert "Traceback" not in service.output()


@both
async def test_answers_finish_and_their_viewers_leave_after_the_last_frame(service, scripted_agent):
    async with plain(service, "p") as old, v1(service, "v") as new, v1(service, "v") as other:
        await begin_answer(old, f"tokens 20 gate={service.port}")
        await begin_answer(new, f"tokens 20 gate={service.port}")
        await stopping(service)
        await go_on(scripted_agent, f"{service.port}")
        assert text_of(await old.turn()) == "".join(f"{number} " for number in range(1, 20))
        assert (await new.turn())[-1]["finish_reason"] == "stop"
        assert (await other.turn())[-1]["finish_reason"] == "stop"
        assert await old.close_code() == RESTART
        for client in (new, other):
            assert (await client.frame_of("disconnect"))["reconnect"] is True
            assert await client.close_code() == RESTART
    assert await exit_code(service) == 0


@both
async def test_what_is_left_when_the_time_is_up_ends_with_shutting_down_queued_turns_too(hasty):
    async with v1(hasty, "v") as client, plain(hasty, "p") as old:
        await begin_answer(client, "tokens 1000 delay=0.05")
        await begin_answer(old, "tokens 1000 delay=0.05")
        for content in ("second", "third"):
            await client.say(content)
        assert [(await client.frame_of("accepted"))["position"] for _ in range(2)] == [0, 1]
        await stopping(hasty)
        errors = [(await client.turn())[-1] for _ in range(3)]
        assert [error["code"] for error in errors] == ["shutting_down"] * 3
        assert len({error["turn_id"] for error in errors}) == 3
        assert all(error["retry_after_ms"] for error in errors)
        assert (await client.frame())["code"] == "server_restart"
        assert (await old.turn())[-1] == {"type": "error", "content": errors[0]["content"]}
        assert (await client.close_code(), await old.close_code()) == (RESTART, RESTART)
    assert await exit_code(hasty) == 0


async def test_second_signal_leaves_no_more_time(service):
    async with v1(service, "v") as client, v1(service, "idle") as idle:
        await begin_answer(client, "tokens 1000 delay=0.05")
        await stopping(service)
        assert await idle.close_code() == RESTART
        service.signal(signal.SIGINT)
        assert (await client.turn())[-1]["code"] == "shutting_down"
        assert await client.close_code() == RESTART
    assert await exit_code(service) == 0


async def test_third_signal_ends_the_process_whatever_its_clients_do(service):
    async with SocketClient(f"{service.ws_url}/ws/v/", close_timeout=0.1) as client:
        await begin_answer(client, "tokens 1000 delay=0.05")
        client.connection.transport.pause_reading()  # so that its farewell is not answered
        await stopping(service)
        while (code := service.poll()) is None:
            service.signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
        assert code in (0, -signal.SIGTERM)


async def test_nothing_new_is_taken_while_answers_finish(service, scripted_agent):
    async with v1(service, "v") as client, plain(service, "v") as old:
        await begin_answer(client, f"tokens 20 gate={service.port}")
        await stopping(service)
        await client.say("more", client_message_id="m1")
        error = await client.frame_of("error")
        assert (error["code"], error["client_message_id"]) == ("shutting_down", "m1")
        await old.say("more")
        assert "restarting" in await old.error()
        with pytest.raises(InvalidStatus) as refused:
            async with plain(service, "new"):
                pass
        assert refused.value.response.status_code == 403
        async with v1(service, "new") as new:
            assert (await new.frame())["code"] == "server_restart"
            assert await new.close_code() == RESTART
        status, body = ready(service)
        assert (status, body["status"], body["checks"]["draining"]["ok"]) == (503, "draining", False)
        await go_on(scripted_agent, f"{service.port}")
        assert (await client.turn())[-1]["finish_reason"] == "stop"
    assert await exit_code(service) == 0


def ready(service: processes.Process) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", "/ready")
    response = connection.getresponse()
    status, body = response.status, json.load(response)
    connection.close()
    return status, body


async def leave_thread(message, session):
    """An agent, as a Python function, that leaves a thread behind."""
    threading.Thread(target=threading.Event().wait).start()
    yield "left"


@both
async def test_a_thread_that_does_not_end_does_not_keep_the_process(server):
    with processes.gateway(server, "", AGENT_PROTOCOL=f"{__name__}.leave_thread") as gateway:
        async with plain(gateway, "s") as client:
            assert await client.ask("leave a thread") == "left"
        gateway.signal(signal.SIGTERM)
        assert await exit_code(gateway) == 0
        assert "thread does not end" in gateway.output()


@both
async def test_a_hangup_changes_nothing(service, server):
    """A terminal that is closed, or an operator who expects settings to be read again."""
    async with v1(service, "s") as browser:
        service.signal(signal.SIGHUP)
        await until(lambda: "SIGHUP ignored" in service.output())
        await browser.say("tokens 3")
        assert (await browser.turn())[-1]["finish_reason"] == "stop"
    assert service.is_running
    assert service.stop() == 0


async def test_ready_until_a_signal(service):
    green = {"store": True, "announcements": True, "agent": True, "draining": True}

    def is_ready() -> bool:
        status, body = ready(service)
        checks = {name: check["ok"] for name, check in body["checks"].items()}
        return (status, body["status"], checks) == (200, "ready", green)

    await until(is_ready)  # a check that met a machine that stands still is made again


async def test_many_clients_leave_without_one_being_cut(service):
    async def stay(number: int) -> int | None:
        async with v1(service, f"many-{number % 50}") as client:
            await client.frame_of("welcome")
            joined.append(number)
            return await client.close_code()

    joined: list[int] = []
    staying = [asyncio.create_task(stay(number)) for number in range(200)]
    await until(lambda: len(joined) == 200)
    await stopping(service)
    assert await asyncio.gather(*staying) == [RESTART] * 200
    assert await exit_code(service) == 0


async def test_cancel_works_while_answers_finish(service):
    async with v1(service, "v") as client:
        await begin_answer(client, "tokens 1000 delay=0.05")
        await stopping(service)
        await client.cancel()
        assert (await client.turn())[-1]["finish_reason"] == "cancelled"
        assert await client.close_code() == RESTART
    assert await exit_code(service) == 0

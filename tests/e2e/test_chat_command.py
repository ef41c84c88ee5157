"""``manage.py chat`` as a person uses it: a process in a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests import processes
from tests.databases import new_database
from tests.http_clients import API
from tests.terminals import LIMIT_SECONDS, Terminal


@pytest.fixture(scope="module")
def service(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", scripted_agent.http_url) as gateway:
        yield gateway


def test_ask_and_answer_then_ctrl_d_quits(service):
    with Terminal("chat", "--url", service.ws_url, "--session", "chat-1") as terminal:
        terminal.wait_for("Connected. Session chat-1.")
        terminal.type("hello zwölf 🙂\n")
        terminal.wait_for("hello zwölf 🙂\r\n")  # the echo of what was typed
        terminal.wait_for("hello zwölf 🙂\r\n> ")
        terminal.type("\x04")
        terminal.wait_for("--session chat-1")
        assert terminal.wait_ended() == 0


def test_reasoning_and_tools_stand_on_lines_of_their_own(service):
    with Terminal("chat", "--url", service.ws_url, "--session", "chat-6") as terminal:
        terminal.wait_for("Connected.")
        terminal.type("script:tools\n")
        terminal.wait_for("script:tools\r\n")
        terminal.wait_for("a \r\n[Let me see.]\r\nb\r\n[calls clock {}]\r\n[result: no clock]\r\n\r\n> ")


def test_ctrl_c_stops_the_answer_and_then_quits(service):
    with Terminal("chat", "--url", service.ws_url, "--session", "chat-2") as terminal:
        terminal.wait_for("Connected.")
        terminal.type("script:tokens 1000 delay=0.02\n")
        terminal.wait_for("3 4 5 ")
        terminal.press_ctrl_c()
        terminal.wait_for("[stopped]\r\n> ")
        terminal.type("next works\n")
        terminal.wait_for("next works\r\n")
        terminal.wait_for("next works\r\n> ")
        terminal.press_ctrl_c()
        assert terminal.wait_ended() == 0


def test_message_that_waited_stands_above_its_answer(service, scripted_agent):
    with Terminal("chat", "--url", service.ws_url, "--session", "chat-5") as terminal:
        terminal.wait_for("Connected.")
        terminal.type("script:tokens 100 gate=chat-5\n")
        terminal.wait_for("3 4 5 ")
        terminal.type("meanwhile\n")
        wait_for_queued(service, "chat-5")
        urllib.request.urlopen(f"{scripted_agent.http_url}/open/chat-5").close()
        terminal.wait_for("99 \r\n> \r> meanwhile\r\nmeanwhile\r\n> ")


def wait_for_queued(service, session_id):
    """Wait until a message waits for the answer in flight."""
    url, headers = f"{service.http_url}{API}/{session_id}", {"X-Internal-Auth": processes.KEY}
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while True:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            if json.load(response)["queued"]:
                return
        assert time.monotonic() < give_up_at, "no message waits"
        time.sleep(0.02)


def test_lost_gateway_is_come_back_to(scripted_agent):
    with (
        processes.gateway("serve", scripted_agent.http_url) as gateway,
        Terminal("chat", "--url", gateway.http_url, "--session", "chat-3") as terminal,
    ):
        terminal.wait_for("Connected.")
        terminal.type("script:tokens 1000 delay=0.02\n")
        terminal.wait_for("3 4 5 ")
        gateway.kill()
        terminal.wait_for("[connection lost; retrying]")
        terminal.type("said while away\n")
        gateway.start()
        terminal.wait_for("[reconnected]")
        terminal.wait_for("the gateway no longer has this conversation")
        terminal.wait_for("\r> said while away\r\nsaid while away\r\n> ")


def test_session_is_gone_on_with(service):
    for content in ("first", "second"):
        with Terminal("chat", "--url", service.ws_url, "--session", "chat-4") as terminal:
            terminal.wait_for("Connected.")
            if content == "second":
                terminal.wait_for("> first\r\nfirst\r\n> ")
            terminal.type(f"{content}\n")
            terminal.wait_for(f"{content}\r\n")
            terminal.wait_for(f"{content}\r\n> ")


def test_session_that_the_log_has_lost_is_shown_from_the_transcripts(scripted_agent, tmp_path, django_db_blocker):
    """With reasoning and tools where they were; in a pipe nothing of it."""
    with django_db_blocker.unblock():
        database = new_database("sqlite", tmp_path)
    settings = {"TRANSCRIPTS": "true", "DATABASE_URL": database}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        script(gateway, "--session", "chat-9", said="script:tools\nscript:break")
        gateway.stop()
        gateway.start()
        with Terminal("chat", "--url", gateway.ws_url, "--session", "chat-9") as terminal:
            terminal.wait_for(
                "> script:tools\r\na \r\n[Let me see.]\r\nb\r\n[calls clock {}]\r\n[result: no clock]\r\n"
            )
            terminal.wait_for("> script:break\r\na \r\n[The answer was cut off")
            terminal.wait_for("\r\n> ")
            terminal.type("now\n")
            terminal.wait_for("now\r\nnow\r\n> ")
        assert script(gateway, "--session", "chat-9", said="again").stdout == "again\n"


def test_error_is_shown_in_words_and_the_next_message_works(service):
    with Terminal("chat", "--url", service.ws_url) as terminal:
        terminal.wait_for("Connected.")
        terminal.type("script:break\n")
        terminal.wait_for("The answer was cut off. Try again.]\r\n> ")
        terminal.type("next\n")
        terminal.wait_for("next\r\nnext\r\n> ")


def script(service, *arguments: str, said: str = "one\ntwo") -> subprocess.CompletedProcess[str]:
    """Talk as a script does: words from a pipe, and the answers into another."""
    env = {"GATEWAY_URL": service.http_url, "GATEWAY__INTERNAL_API_KEY": processes.KEY}
    return processes.manage("chat", *arguments, said=said, **env)


def test_script_gets_its_answers_and_nothing_else(service):
    done = script(service, "--session", "chat-7")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\n")
    assert "Connected. Session chat-7." in done.stderr


def test_script_whose_answer_fails_ends_with_1(service):
    done = script(service, said="script:break\nscript:tools")
    assert done.returncode == 1
    assert done.stdout == "a \na b\n"
    assert "was cut off" in done.stderr
    assert "[calls clock {}]\n[result: no clock]" in done.stderr


def test_script_whose_message_is_refused_ends_with_1(service):
    assert script(service, said="x" * 300_000).returncode == 1


def test_a_reader_that_leaves_ends_it_quietly(service):
    env = processes.environment(GATEWAY_URL=service.ws_url)
    command = [sys.executable, "manage.py", "chat"]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, stdin=-1, stdout=-1, stderr=-1) as running:
        running.stdout.close()
        running.stdin.write(b"hello\n")
        running.stdin.flush()
        said = running.stderr.read()
    assert running.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said


@pytest.fixture(scope="module")
def guarded(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", scripted_agent.http_url, WS_AUTH="ticket") as gateway:
        yield gateway


def test_key_opens_every_session(guarded):
    assert script(guarded, said="hello").stdout == "hello\n"


def test_ticket_opens_its_session(guarded):
    request = urllib.request.Request(
        f"{guarded.http_url}/api/v1/tickets",
        json.dumps({"session_id": "chat-8", "subject": "ann"}).encode(),
        {"X-Internal-Auth": processes.KEY},
    )
    with urllib.request.urlopen(request) as response:
        ticket = json.load(response)["ticket"]
    done = script(guarded, "--session", "chat-8", "--ticket", ticket, said="hello")
    assert done.stdout == "hello\n"
    refused = script(guarded, "--session", "chat-8", "--ticket", "nonsense", said="hello")
    assert refused.returncode == 1
    assert "CommandError" in refused.stderr


def test_gateway_that_is_not_there_is_named():
    with Terminal("chat", "--url", "http://127.0.0.1:1") as terminal:
        terminal.wait_for("Cannot reach ws://127.0.0.1:1; retrying (Ctrl-C to quit)..")
        terminal.press_ctrl_c()
        assert terminal.wait_ended() == 0


def test_gateway_that_starts_late_is_found(scripted_agent):
    with processes.gateway("serve", scripted_agent.http_url) as gateway:
        gateway.stop()
        with Terminal("chat", "--url", gateway.http_url, "--session", "chat-10") as terminal:
            terminal.wait_for("retrying (Ctrl-C to quit)")
            gateway.start()
            terminal.wait_for("\r\nConnected. Session chat-10.")


def test_script_gives_up_without_a_gateway():
    done = processes.manage("chat", said="hello", GATEWAY_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1:] == [
        "CommandError: No gateway answered at ws://127.0.0.1:1 for 15 s: is it running? Give its address with --url."
    ]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--url", "ftp://x"], "must begin with http://"), (["--session", ".."], "session id")]
)
def test_wrong_argument_is_named(arguments, words):
    done = processes.run(["manage.py", "chat", *arguments])
    assert done.returncode == 2
    assert words in done.stdout

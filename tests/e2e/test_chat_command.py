"""``manage.py chat`` as a person uses it: a process in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests import processes
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
        terminal.wait_for("[connected again]")
        terminal.wait_for("the gateway has forgotten this conversation")
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


def test_error_is_shown_in_words_and_the_next_message_works(service):
    with Terminal("chat", "--url", service.ws_url) as terminal:
        terminal.wait_for("Connected.")
        terminal.type("script:break\n")
        terminal.wait_for("broke off before its end. Send your message again.]\r\n> ")
        terminal.type("next\n")
        terminal.wait_for("next\r\nnext\r\n> ")


def test_script_gets_its_answers_before_the_end(service):
    done = subprocess.run(
        [sys.executable, "manage.py", "chat", "--url", service.ws_url],
        input=b"one\ntwo", cwd=processes.ROOT, capture_output=True, timeout=LIMIT_SECONDS, check=True,
    )  # fmt: skip
    assert b"one\n" in done.stdout
    assert b"two\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--url", "ftp://x"], "must begin with ws://"), (["--session", ".."], "session's name")]
)
def test_wrong_argument_is_named(arguments, words):
    done = subprocess.run(
        [sys.executable, "manage.py", "chat", *arguments], cwd=processes.ROOT, capture_output=True, text=True,
        timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert words in done.stderr

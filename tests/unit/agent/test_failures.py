"""Why an agent fails, in words for operators."""

import json
import socket

import httpx
import pytest

from relay.agent.failures import is_echo, unreachable_cause, words_of
from relay.agent.tls import TlsFailed

SAID = "What is the capital of France?"


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        ("The model is overloaded.", False),
        ("capital of", False),
        (f"{SAID!r} is no question", True),
        ("I do not know the capital of Fr…", True),
        ("", False),
    ],
)
def test_words_that_repeat_the_conversation_are_known(words, is_one):
    assert is_echo(words, SAID) is is_one


def test_words_that_repeat_it_as_json_are_known():
    said = "Какая столица"
    assert is_echo(f"cannot answer {json.dumps(said)}", said, json.dumps({"content": said}))


def connecting(cause):
    """A failed connection as httpx raises it."""
    failure = httpx.ConnectError("to a secret host")
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (connecting(socket.gaierror(-2, "secret-host")), "its name is not known to DNS"),
        (connecting(ConnectionRefusedError("10.0.0.1")), "the connection is refused"),
        (connecting(TimeoutError()), "it does not answer in time"),
        (connecting(OSError("10.0.0.1")), "OSError"),
        (TimeoutError(), "it does not answer in time"),
        (TlsFailed("its certificate has expired"), "its certificate has expired"),
        (connecting(None), "ConnectError"),
    ],
)
def test_a_connection_that_did_not_come_about(failure, cause):
    assert unreachable_cause(failure) == cause


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b"  Bad\n\n gateway ", "Bad gateway"),
        (b'{"error": {"message": "no such\\nmodel"}}', "no such model"),
        (b'{"of": "no words"}', '{"of": "no words"}'),
        (b'{"error": "cut off', '{"error": "cut off'),
        (b"\xff bytes", "\ufffd bytes"),
    ],
)
def test_a_response_that_is_no_event_stream(body, words):
    assert words_of(body) == words

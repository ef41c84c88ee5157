"""Why an agent fails: words for operators."""

import json
import socket

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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b"<h1>Not\n  here</h1>", "<h1>Not here</h1>"),
        (b'{"error":{"message":"no such model"}}', "no such model"),
        (b'{"detail":[{"msg":"field required"}]}', "field required"),
        (b'{"code":7}', '{"code":7}'),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_words_of_a_refusal(body, words):
    assert words_of(body) == words


def from_cause(cause):
    failure = OSError("with an address")
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (TlsFailed("its certificate has expired"), "its certificate has expired"),
        (from_cause(socket.gaierror(-2, "no name")), "its name is not known to DNS"),
        (from_cause(ConnectionRefusedError(111, "127.0.0.1")), "the connection is refused"),
        (TimeoutError(), "it does not answer in time"),
        (from_cause(OSError(113, "no route to 10.0.0.1")), "OSError"),
    ],
)
def test_causes_are_told_apart_without_an_address(failure, cause):
    assert unreachable_cause(failure) == cause

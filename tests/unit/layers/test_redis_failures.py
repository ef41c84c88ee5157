"""Why a store cannot serve, in words: each kind of failure as redis-py and the standard library raise it."""

import socket
import ssl

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from relay.layers.redis.failures import ClusterFailure, NoTls, not_served, reason


def certificate_error(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def tls_error(name):
    error = ssl.SSLError(1, "no words of ours")
    error.reason = name
    return error


def connecting(cause):
    """A failed connection as redis-py raises it: the cause is the context."""
    failure = exceptions.ConnectionError(f"Error connecting to secret-host:6379. {cause}.")
    failure.__context__ = cause
    return failure


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "it is full"),
        ("MISCONF Valkey is configured to save RDB snapshots", "it cannot write its data to disk"),
        ("NOREPLICAS Not enough good replicas to write.", "fewer replicas"),
        ("BUSY Redis is busy running a script.", "it is busy with a script"),
        ("READONLY You can't write against a read only replica.", "it is a read-only replica"),
        ("LOADING Redis is loading the dataset in memory", "it is still loading its data"),
        ("CROSSSLOT Keys in request don't hash to the same slot", "it is a cluster"),
        ("MOVED 3999 10.0.0.1:6381", "it is a cluster"),
        ("CLUSTERDOWN Hash slot not served", "it is a cluster"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "it does not accept the user"),
        ("NOAUTH Authentication required.", "it does not accept the user"),
        ("ERR Client sent AUTH, but no password is set", "it does not accept the user"),
        ("ERR max number of clients reached", "no more connections"),
        ("NOPERM User bob has no permissions to run the 'script|load' command", "may not run 'script|load'"),
        ("ERR ACL failure in script: User bob has no permissions to run the 'hset' command", "may not run 'hset'"),
        ("NOPERM No permissions to access a key", "the gateway's keys"),
        ("ERR ACL failure in script: No permissions to access a channel script: on", "the gateway's channels"),
        ("ERR Unknown command called from script", "Redis 7 or Valkey 8"),
        ("ERR This instance has cluster support disabled", "it is not a cluster"),
        ("ERR user_script:7: attempt to index a nil value", "it refuses the gateway's requests"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "it refuses the gateway's requests"),
    ],
)
def test_what_a_store_replies(reply, words):
    said = reason(BaseParser.parse_error(reply))
    assert words in said
    assert "bob" not in said
    assert "10.0.0.1" not in said


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (certificate_error(10), "has expired"),
        (certificate_error(9), "not valid yet"),
        (certificate_error(62), "for another host"),
        (certificate_error(64), "for another host"),
        *((certificate_error(code), "an authority that is not trusted") for code in (2, 18, 19, 20, 21)),
        (certificate_error(26), "its TLS certificate is not accepted"),
        (tls_error("WRONG_VERSION_NUMBER"), "it does not speak TLS"),
        (tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "TLS fails (TLSV13_ALERT_CERTIFICATE_REQUIRED)"),
        (tls_error(None), "TLS fails (SSLError)"),
        (ConnectionRefusedError(111, "refused"), "no server is listening"),
        (ConnectionResetError(104, "reset"), "does it require TLS"),
        (socket.gaierror(-2, "unknown"), "the name of its host"),
        (TimeoutError(), "it does not answer in time"),
        (OSError(113, "no route"), "there is no connection to it (ConnectionError)"),
    ],
)
def test_why_there_is_no_connection(cause, words):
    said = reason(connecting(cause))
    assert words in said
    assert "secret-host" not in said


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (NoTls(), "it does not speak TLS"),
        (
            not_served(exceptions.ClusterDownError("The cluster is down", status_code="CLUSTERDOWN")),
            "its cluster is down",
        ),
        (not_served(exceptions.MovedError("5 secret-host:6379", status_code="MOVED")), "disagree"),
        (ClusterFailure("words of ours"), "words of ours"),
        (exceptions.InvalidResponse("Protocol error"), "does it require TLS"),
        (exceptions.ConnectionError("Connection closed by server."), "does it require TLS"),
        (exceptions.TimeoutError("Timeout connecting to server"), "it does not answer in time"),
    ],
)
def test_what_is_no_error_of_the_network(failure, words):
    assert words in reason(failure)

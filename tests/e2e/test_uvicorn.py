"""What uvicorn is told at its start, and what it writes of its own."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests import processes
from tests.clients import LIMIT_SECONDS

TICKET = "s3cret-ticket"
COMPRESSED = "uvicorn compresses sockets"


def uvicorn(*flags: str) -> processes.Process:
    address = ["--host", "127.0.0.1", "--port", "{port}"]
    env = {"GATEWAY__INTERNAL_API_KEY": processes.KEY, "GATEWAY__TRANSCRIPTS": "false", "GATEWAY__LOG_LEVEL": "INFO"}
    return processes.Process(["-m", "uvicorn", *address, *flags, "gateway_project.asgi:application"], **env)


@pytest.mark.parametrize("level", ["debug", "trace"])
@pytest.mark.parametrize("library", ["websockets", "websockets-sansio", "relay.server.uvicorn:WebSocket"])
def test_no_level_shows_a_key_a_ticket_or_a_message(level, library):
    headers = {"X-Internal-Auth": processes.KEY, "Cookie": f"sessionid={TICKET}"}
    with uvicorn("--log-level", level, "--ws", library) as gateway:
        httpx.get(
            f"{gateway.http_url}/api/v1/sessions?ticket={TICKET}", headers=headers, timeout=LIMIT_SECONDS
        ).raise_for_status()
        with connect(
            f"{gateway.ws_url}/ws/s/?ticket={TICKET}", additional_headers=headers, open_timeout=LIMIT_SECONDS
        ) as socket:
            socket.send(f'{{"type":"user_message","content":"{TICKET}"}}')
            socket.recv(timeout=60)
        odd = {"Sec-WebSocket-Protocol": f"gateway.ticket.{TICKET}, @"}
        with (
            contextlib.suppress(InvalidStatus),
            connect(f"{gateway.ws_url}/ws/s/", additional_headers=odd, open_timeout=LIMIT_SECONDS),
        ):
            pass  # one library refuses it, the other does not
        written = gateway.output()
    assert "Application startup complete" in written
    assert processes.KEY not in written
    assert TICKET not in written


def test_compression_is_warned_of_at_the_start():
    with uvicorn() as gateway:
        assert COMPRESSED in gateway.output()
    with uvicorn("--ws-per-message-deflate=false") as gateway:
        assert COMPRESSED not in gateway.output()

"""What a client shows stands in no log, whatever the server."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.error
import urllib.request

import pytest

from tests import processes
from tests.clients import V1, SocketClient


def issue_ticket(gateway: processes.Process, session_id: str) -> str:
    request = urllib.request.Request(
        f"{gateway.http_url}/api/v1/tickets",
        json.dumps({"session_id": session_id}).encode(),
        {"X-Internal-Auth": processes.KEY},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["ticket"]


async def test_no_log_holds_a_ticket_a_key_a_prompt_or_an_answer(server, scripted_agent):
    prompt, key = f"prompt {secrets.token_hex(8)}", secrets.token_hex(16)
    with processes.gateway(
        server, scripted_agent.http_url, WS_AUTH="ticket", INTERNAL_API_KEY=f"{processes.KEY},{key}"
    ) as gateway:
        shown = [issue_ticket(gateway, "s") for _ in range(3)]
        encoded = base64.urlsafe_b64encode(shown[0].encode()).decode().rstrip("=")
        async with SocketClient(f"{gateway.ws_url}/ws/s/", [V1, f"gateway.ticket.{encoded}"]) as browser:
            assert prompt in await browser.ask(prompt)
        async with SocketClient(f"{gateway.ws_url}/ws/s/?ticket={shown[1]}") as browser:
            assert prompt in await browser.ask(prompt)
        with urllib.request.urlopen(f"{gateway.http_url}/api/v1/sessions/s/events?ticket={shown[2]}"):
            pass
        for path in (f"/api/v1/sessions/s/events?ticket={shown[2]}", f"/x?ticket={shown[2]}"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(gateway.http_url + path)
        urllib.request.urlopen(
            urllib.request.Request(f"{gateway.http_url}/api/v1/sessions", headers={"X-Internal-Auth": key})
        ).close()
        gateway.stop()
        log = gateway.output()
        assert "/ws/s/" in log, "the access log is on"
        for secret in (*shown, encoded, key, processes.KEY, prompt, prompt.split()[1], "ticket="):
            assert secret not in log

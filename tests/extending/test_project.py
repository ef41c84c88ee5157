"""The whole project as one process: its policy, agent, fields and receivers together."""

import asyncio
import json
import urllib.request
from base64 import urlsafe_b64encode

from tests.clients import V1, SocketClient, text_of
from tests.extending.conftest import helpdesk


def socket(desk, badge):
    credential = urlsafe_b64encode(badge.encode()).decode().rstrip("=")
    return SocketClient(f"{desk.ws_url}/desk/ws/printer/", [V1, f"gateway.ticket.{credential}"])


def at_kiosk(desk, badge, words):
    """Ask at a kiosk, and return the events of the answer."""
    body = {"kiosk": "hall", "messages": [{"role": "user", "words": words}]}
    headers = {"Authorization": f"Bearer {badge}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{desk.http_url}/desk/api/v1/adapters/kiosk", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        lines = response.read().decode().splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def erase(desk, session_id):
    url, headers = f"{desk.http_url}/desk/api/v1/sessions/{session_id}", {"X-Internal-Auth": "of-the-helpdesk"}
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE", headers=headers)) as response:
        assert response.status == 204


async def test_the_staff_is_answered_in_its_language_and_receivers_are_told():
    with helpdesk() as desk:
        async with socket(desk, "badge-1") as ada:
            await ada.say("Where is the printer?", locale="de", room=7)
            question = await ada.frame_of("user_message")
            assert text_of(await ada.turn()) == "Hallo ada, the printer is on the second floor."
            assert (question["locale"], "room" in question) == ("de", False)
            await ada.send({"type": "rate", "stars": 5})
            assert (await ada.frame_of("rated"))["stars"] == 5
            for badge, code in (("badge-2", "forbidden"), ("badge-3", "unauthorized")):
                async with socket(desk, badge) as other:
                    assert (await other.frame())["code"] == code
        await asyncio.to_thread(erase, desk, "printer")
        said = await asyncio.to_thread(at_kiosk, desk, "badge-2", "And where is the scanner?")
        assert said[-2:] == ['{"end": "stop"}', "bye"]
        assert "Hello" in said[0]
        desk.stop()  # which waits for receivers
        output = desk.output()
    assert "printer erased: True" in output
    assert output.index("ada asks in printer") < output.index("turn.completed of ada in printer")

"""The command ``demo_agent``: it accepts the key that the gateway of the same project sends."""

import pytest
from django.core.management import call_command

from relay.demo_agent import server
from relay.management.commands import demo_agent


class Seen:
    """Takes the demo agent's settings, and serves nothing."""

    failure = ""

    def __init__(self, config, *address, say):
        Seen.keys = config.internal_api_keys

    def run(self):
        pass


@pytest.mark.parametrize(
    ("is_own_project", "keys"),
    [(False, ("of-the-shop", "the-next")), (True, ("of-the-environment",))],
    ids=["in another's project", "in the gateway's"],
)
def test_the_keys_come_from_where_the_gateway_has_them(is_own_project, keys, settings, monkeypatch):
    settings.GATEWAY = {"INTERNAL_API_KEY": "of-the-shop,the-next"}
    monkeypatch.setenv("GATEWAY__INTERNAL_API_KEY", "of-the-environment")
    monkeypatch.setattr(demo_agent, "is_own_project", lambda: is_own_project)
    monkeypatch.setattr(server, "DemoAgentServer", Seen)
    call_command("demo_agent")
    assert Seen.keys == keys

"""What ``check --deploy`` refuses, and that a production that is set up passes."""

from __future__ import annotations

import pytest

from tests import processes

SECRET_KEY = "abcdefghijklmnopqrstuvwxyz0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GOOD = {
    "INTERNAL_API_KEY": "a-key-of-our-own",
    "SECRET_KEY": SECRET_KEY,
    "ALLOWED_HOSTS": "chat.example",
    "WS_AUTH": "ticket",
    "HTTPS": "true",
}


def check(**texts: str) -> tuple[int, str]:
    """Run ``manage.py check --deploy`` as an operator would."""
    ran = processes.manage("check", "--deploy", **{f"GATEWAY__{name}": value for name, value in texts.items()})
    return ran.returncode, ran.stdout + ran.stderr


def test_without_settings_every_open_door_is_named_with_a_hint():
    code, said = check()
    assert code == 1
    for check_id in ("relay.E010", "relay.E012", "relay.E013", "relay.E014", "relay.W010"):
        assert check_id in said
    assert said.count("HINT") >= 5


def test_a_production_that_is_set_up_passes():
    code, said = check(**GOOD)
    assert (code, said.strip()) == (0, "System check identified no issues (3 silenced).")


def test_what_is_meant_can_be_silenced():
    code, said = check(**GOOD | {"WS_AUTH": "open", "SILENCED_CHECKS": "relay.E014"})
    assert (code, "relay.E014" in said) == (0, False)


@pytest.mark.parametrize(
    ("change", "check_id"),
    [
        ({"INTERNAL_API_KEY": "a-key-of-our-own,change-me-internal-key"}, "relay.E010"),
        ({"DEBUG": "true"}, "relay.E011"),
        ({"ALLOWED_HOSTS": "chat.example,*"}, "relay.E012"),
    ],
)
def test_each_is_found_alone(change, check_id):
    code, said = check(**GOOD | change)
    assert (code, check_id in said) == (1, True)


def test_tokens_that_may_be_meant_for_others_are_warned_of():
    tokens = GOOD | {"WS_AUTH": "jwt", "JWKS_URL": "https://id.example/keys"}
    code, said = check(**tokens)
    assert (code, said.count("relay.W011")) == (0, 2)
    code, said = check(**tokens, JWT_AUDIENCE="gateway", JWT_ISSUER="https://id.example/")
    assert (code, said.strip()) == (0, "System check identified no issues (3 silenced).")


def test_a_value_that_is_wrong_is_named_and_nothing_is_guessed_from_it():
    code, said = check(**GOOD | {"WS_AUTH": "opne"})
    assert (code, said.count("ERRORS:"), "GATEWAY__WS_AUTH" in said, "Traceback" in said) == (1, 1, True, False)

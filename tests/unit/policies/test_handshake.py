"""A client's handshake: where its one credential may be, how long it may be, and what may name a subject."""

import base64

import pytest

from relay.policies import Handshake, Identity
from relay.policies.handshake import parse_query


def bearer(credential, scheme="Bearer"):
    return {"headers": [(b"Authorization", f"{scheme} {credential}".encode())]}


def subprotocol(credential):
    encoded = base64.urlsafe_b64encode(credential.encode()).decode().rstrip("=")
    return {"subprotocols": ["gateway.v1", f"gateway.ticket.{encoded}"]}


def query(credential):
    return {"query": {"ticket": credential}}


def shown(**fields):
    return Handshake(session_id="s", **fields).credential


@pytest.mark.parametrize("show", [bearer, subprotocol, query])
@pytest.mark.parametrize("credential", ["x", "ab", "abc", "a.b-c_d", "x" * 8_191, "x" * 8_192])
def test_a_credential_is_read_wherever_it_is_shown(show, credential):
    assert shown(**show(credential)) == credential


@pytest.mark.parametrize("show", [bearer, subprotocol, query])
@pytest.mark.parametrize("credential", ["", "x" * 8_193])
def test_nothing_and_too_much_is_no_credential(show, credential):
    assert shown(**show(credential)) is None


def test_without_any_there_is_no_credential():
    assert shown() is None
    assert shown(headers=[(b"authorization", b"")], subprotocols=["gateway.v1"], query={"other": "x"}) is None


@pytest.mark.parametrize("one", [bearer, subprotocol])
@pytest.mark.parametrize("other", [subprotocol, query])
def test_two_credentials_are_none_though_they_are_the_same(one, other):
    fields = {**one("x"), **other("x")}
    if one is other:
        fields["subprotocols"] = fields["subprotocols"] * 2
    assert shown(**fields) is None


def test_a_handshake_is_a_sockets_and_of_a_new_client_unless_it_says_otherwise():
    handshake = Handshake(session_id="s")
    assert (handshake.is_socket, handshake.has_cursor, handshake.cursor_epoch) == (True, False, "")


def test_two_headers_of_a_kind_are_none():
    twice = Handshake(session_id="s", headers=bearer("x")["headers"] * 2)
    assert twice.header("Authorization") is None
    assert twice.credential is None
    assert Handshake(session_id="s", headers=bearer("x")["headers"]).header("AUTHORIZATION") == "Bearer x"


@pytest.mark.parametrize(
    ("scheme", "credential"), [("bearer", "x"), ("BEARER", "x"), ("Basic", None), ("Bear", None), ("Token", None)]
)
def test_only_a_bearer_token_is_a_credential(scheme, credential):
    assert shown(**bearer("x", scheme)) == credential


def test_blanks_around_a_bearer_token_are_no_part_of_it():
    assert shown(headers=[(b"authorization", b"Bearer   x ")]) == "x"


@pytest.mark.parametrize("text", ["!", "A", "AAAAA", "/w", "YQ+/"])
def test_a_subprotocol_that_is_no_base64url_of_text_is_a_credential_that_no_policy_takes(text):
    assert shown(subprotocols=[f"gateway.ticket.{text}"]) == "-"


def test_of_two_parameters_the_last_counts_but_of_two_tickets_none():
    assert parse_query(b"a=1&a=2&b=&ticket=x") == {"a": "2", "b": "", "ticket": "x"}
    assert parse_query(b"ticket=x&ticket=x") == {"ticket": ""}
    assert parse_query(b"a=1&a=2&z=1&z=2&ticket=x") == {"a": "2", "z": "2", "ticket": "x"}


def test_a_cookie_is_found_by_its_name():
    with_cookies = Handshake(session_id="s", headers=[(b"cookie", b"a=1; sessionid=x")])
    assert (with_cookies.cookie("sessionid"), with_cookies.cookie("b")) == ("x", None)
    assert Handshake(session_id="s").cookie("a") is None


@pytest.mark.parametrize("subject", ["!", "~", "a", "ab", "a b", "x" * 255, None])
def test_what_can_stand_in_a_header_may_name_a_subject(subject):
    assert Identity(subject).subject == subject


@pytest.mark.parametrize("subject", ["", " ", " a", "a ", "a\n", "a\x7f", "\x7f", "é", "x" * 256])
def test_what_cannot_stand_in_a_header_names_no_subject(subject):
    with pytest.raises(ValueError, match="1 to 255 printable ASCII characters"):
        Identity(subject)


@pytest.mark.parametrize("expires_at", [float("nan"), float("inf"), "soon"])
def test_a_connection_ends_at_a_time(expires_at):
    with pytest.raises((TypeError, ValueError)):
        Identity("ada", expires_at)

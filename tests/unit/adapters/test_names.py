"""Front ends' names of sessions and messages."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.adapters.base import foreign_id_of, message_id_of, session_id_of
from relay.exceptions import ParameterInvalid
from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, is_session_id


@pytest.mark.parametrize(
    "foreign_id", ["aB3xY9kQ12Zz45Tt", "7d9f…", "8f14e45f-ceea-467f-a9d1-000000000000", "~x", "a/b"]
)
def test_a_session_id_can_be_turned_back(foreign_id):
    session_id = session_id_of(foreign_id, "id")
    assert is_session_id(session_id)
    assert foreign_id_of(session_id) == foreign_id


@pytest.mark.parametrize("foreign_id", ["aB3xY9kQ12Zz45Tt", "chat:1", "x" * 128])
def test_an_id_that_may_name_a_session_names_that_session(foreign_id):
    assert session_id_of(foreign_id, "id") == foreign_id


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_ids_never_name_one_session(one, other):
    try:
        same = session_id_of(one, "id") == session_id_of(other, "id")
    except ParameterInvalid:
        assert max(len(one.encode()), len(other.encode())) > 95
    else:
        assert same == (one == other)


@pytest.mark.parametrize("foreign_id", [None, "", 7, ["x"], "é" * 48, "x" * 129])
def test_what_names_no_session_is_refused(foreign_id):
    with pytest.raises(ParameterInvalid):
        session_id_of(foreign_id, "id")


@given(st.text(min_size=1))
def test_every_text_gives_a_message_id_and_always_the_same(text):

    assert re.match(CLIENT_MESSAGE_ID_PATTERN, message_id_of(text))
    assert message_id_of(text) == message_id_of(text)


@pytest.mark.parametrize("absent", [None, "", 7, {}])
def test_no_text_gives_no_message_id(absent):
    assert message_id_of(absent) is None

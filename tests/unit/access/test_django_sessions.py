"""Which keys of Django's sessions reach the database."""

import pytest

from relay.access.django_sessions import SessionStore


@pytest.mark.parametrize("key", ["abcdefg1", "abcdefghijklmnop0123456789abcdef"])
def test_a_well_formed_key_is_looked_up(key):
    assert SessionStore(key).session_key == key


@pytest.mark.parametrize("key", [None, "", "abcdef1", "abcdefg\0", "abcdefg-", "abcdefgé", "abcdefg٣"])
def test_any_other_key_is_none(key):
    assert SessionStore(key).session_key is None

"""The login forms of the admin and the chat page: every attempt is counted, before any password is looked at."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from relay.access.rate_limits import take_login
from relay.admin.login import LimitedLoginForm as AdminForm
from relay.exceptions import RateLimited, StoreUnavailable
from relay.layers.memory.limits import MemoryLimits
from relay.web.login import LimitedLoginForm as ChatForm

WRONG = {"username": "Ann", "password": "wrong"}


@pytest.fixture(params=[AdminForm, ChatForm], ids=["admin", "chat"])
def form_class(request):
    return request.param


def form_that_meets(error, form_class, monkeypatch):
    """Send the form in. Returns who was counted, and what the form says."""
    counted = []

    async def take(*who):
        counted.append(who)
        raise error

    monkeypatch.setattr("relay.web.login._take_login", take)
    form = form_class(RequestFactory().post("/", WRONG, REMOTE_ADDR="192.0.2.1"), WRONG)
    assert not form.is_valid()
    return counted, form.non_field_errors()


def test_after_too_many_attempts_no_password_is_looked_at(form_class, monkeypatch):
    counted, said = form_that_meets(RateLimited(12.3), form_class, monkeypatch)
    assert counted == [("192.0.2.1", "Ann")]
    assert said == ["Too many attempts. Try again in 13 seconds."]


def test_without_the_store_nobody_logs_in(form_class, monkeypatch):
    _, said = form_that_meets(StoreUnavailable(), form_class, monkeypatch)
    assert said == ["Logging in is not possible at the moment. Try again shortly."]


@pytest.fixture
def limits():
    """Limits of a moment: time gives nothing back."""
    return MemoryLimits(lambda: 0.0)


async def test_an_address_has_ten_attempts_whatever_the_names(limits):
    for number in range(10):
        await take_login(limits, "192.0.2.1", f"name{number}")
    with pytest.raises(RateLimited) as refused:
        await take_login(limits, "192.0.2.1", "another")
    assert refused.value.retry_after_seconds == pytest.approx(30.0)
    await take_login(limits, "192.0.2.2", "another")


async def test_a_name_has_thirty_attempts_whatever_the_addresses_and_its_case(limits):
    for number in range(30):
        await take_login(limits, f"2001:db8:0:{number:x}::1", "ADMIN")
    with pytest.raises(RateLimited) as refused:
        await take_login(limits, "198.51.100.1", "admin")
    assert refused.value.retry_after_seconds == pytest.approx(120.0)
    await take_login(limits, "198.51.100.1", "another")

"""Admit users logged in to Django."""

from __future__ import annotations

from importlib import import_module

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from relay.exceptions import Unauthorized
from relay.policies.base import Policy
from relay.policies.handshake import Handshake, Identity


class SessionPolicy(Policy):
    """Admits users of Django, by their cookie. The subject is the user's primary key: names change, it does not."""

    async def admit(self, handshake: Handshake) -> Identity:
        """Admit a user that is logged in and active."""
        cookie = handshake.cookie(settings.SESSION_COOKIE_NAME)
        if not cookie or not cookie.isprintable():  # a database may raise at a NUL
            raise Unauthorized
        subject = await database_sync_to_async(_subject)(cookie)
        if subject is None:
            raise Unauthorized
        return Identity(subject)


def _subject(cookie: str) -> str | None:
    """Look up the user of a Django session; ``None`` if the session is not live. In a thread: the database blocks."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    user = get_user(request)  # also checks that the password is still the one of the login
    return str(user.pk) if user.is_authenticated and user.is_active else None

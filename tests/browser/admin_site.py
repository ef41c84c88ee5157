"""Gateways with the admin and a database, and people of the staff who are logged in."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, contextmanager

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from playwright.async_api import expect

from tests import processes
from tests.clients import V1, SocketClient
from tests.databases import default_database, new_database
from tests.faults.valkey import Valkey

LIVE = "/admin/relay/livesession/"


class Site:
    """A gateway that shows the admin, one that has the sockets, and their database."""

    def __init__(self, admin, sockets, database, cookies):
        self.url = admin.http_url
        self._cookies = cookies
        self._sockets = sockets
        self._database = database

    def open(self, session_id):
        return SocketClient(f"{self._sockets.ws_url}/ws/{session_id}/", [V1])

    def open_plain(self, session_id):
        return SocketClient(f"{self._sockets.ws_url}/ws/{session_id}/")

    def written_down(self, session_id):
        """Who did what to a session."""
        with closing(sqlite3.connect(self._database.removeprefix("sqlite:///"))) as connection:
            query = """
                SELECT username, change_message FROM django_admin_log JOIN auth_user ON auth_user.id = user_id
                WHERE object_id = ? ORDER BY action_time
            """
            return connection.execute(query, [session_id]).fetchall()

    async def log_in(self, page, name):
        """Open the admin as somebody who has logged in before: the form counts attempts."""
        await page.context.add_cookies([{"name": "sessionid", "value": self._cookies[name], "url": self.url}])
        await page.goto(f"{self.url}/admin/password_change/")  # a page with a form, which brings the CSRF cookie
        await expect(page.locator("#user-tools")).to_contain_text(name)


def logged_in(name, permissions):
    """Make a member of the staff, and give the cookie of their login."""
    user = User.objects.create_user(name, password="secret", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    session = SessionStore()
    session.update(
        {SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
         HASH_SESSION_KEY: user.get_session_auth_hash()}
    )  # fmt: skip
    session.create()
    return session.session_key


@contextmanager
def admin_site(agent_url, folder, people, fill):
    """Run two gateways over one store and one database, which ``fill`` fills; give their site."""
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        database = new_database("sqlite", folder)
        with default_database(database):
            cookies = {name: logged_in(name, permissions) for name, permissions in people.items()}
            fill()
        given = {
            "REDIS_URL": valkey.url, "DATABASE_URL": database, "TRANSCRIPTS": "true", "ADMIN": "true",
            "SECRET_KEY": settings.SECRET_KEY, "DRAIN_SECONDS": "0",
        }  # fmt: skip
        gateways = [processes.gateway("serve", agent_url, **given) for _ in range(2)]
        stack.enter_context(processes.running(*gateways))
        yield Site(*gateways, database, cookies)
        for gateway in gateways:
            lines = [line for line in gateway.output().splitlines() if '"level": "error"' in line]
            assert not lines, "\n".join(lines)

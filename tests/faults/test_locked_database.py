"""Somebody holds a lock on the table that logins are in: nobody is let in meanwhile, and nothing else hangs."""

from __future__ import annotations

import asyncio
import urllib.request

import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from tests import processes
from tests.clients import SocketClient
from tests.databases import new_database

COOKIE = {"Cookie": "sessionid=somebody"}


@pytest.fixture
def database(tmp_path, django_db_blocker):
    with django_db_blocker.unblock():
        return new_database("postgresql", tmp_path)


async def test_sockets_are_refused_and_the_process_ends(database):
    settings = {"WS_AUTH": "session", "DATABASE_URL": database, "SECRET_KEY": "s" * 50}
    with psycopg.connect(database) as locking, processes.gateway("serve", "http://127.0.0.1:9", **settings) as gateway:
        locking.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(InvalidStatus) as refusal:
            async with SocketClient(f"{gateway.ws_url}/ws/s/", additional_headers=COOKIE):
                pass
        assert refusal.value.response.status_code == 403
        with await asyncio.to_thread(urllib.request.urlopen, f"{gateway.http_url}/health") as health:
            assert health.status == 200
        assert await asyncio.to_thread(gateway.stop) == 0
        assert "thread does not end" in gateway.output()

"""How long a connection to PostgreSQL waits for a server that is gone without a word."""

from __future__ import annotations

import socket

from django.db import connection

from tests.databases import default_database, new_database


def options():
    """Ask the kernel: seconds before the first probe, between probes, probes; milliseconds without acknowledgement."""
    connection.ensure_connection()
    with socket.socket(fileno=connection.connection.pgconn.socket) as line:
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        found = [line.getsockopt(socket.IPPROTO_TCP, name) for name in names]
        line.detach()  # it is the connection's
    return found


def test_server_that_is_gone_is_noticed_and_the_address_may_say_when(tmp_path, django_db_blocker):
    with django_db_blocker.unblock():
        url = new_database("postgresql", tmp_path)
        with default_database(url):
            assert options() == [10, 5, 2, 20_000]
        with default_database(f"{url}?tcp_user_timeout=1000&keepalives_count=4"):
            assert options() == [10, 5, 4, 1_000]

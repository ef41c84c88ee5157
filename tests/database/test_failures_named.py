"""A database that cannot be used: ``doctor`` and the start's log say why, and no password."""

from __future__ import annotations

import time

import pytest
from django.db import DatabaseError, connection

from relay.database.failures import reason
from tests import processes
from tests.databases import PostgreSQL, default_database, postgresql

SECRET = "s3cret-word"


def addresses(folder):
    """Addresses of databases that cannot be used, and why."""
    (folder / "text.db").write_text("This is no database. " * 100)
    port = postgresql().port
    return {
        f"sqlite:///{folder}/nowhere/db.sqlite3": "its file cannot be opened",
        f"sqlite:///{folder}": "its file cannot be opened",
        f"sqlite:///{folder}/text.db": "its file is not a SQLite database",
        f"postgres://u:{SECRET}@127.0.0.1:{processes.free_port()}/n": "no server is listening at its address",
        f"postgres://u:{SECRET}@%2Fnowhere/n": "no server is listening at its address",
        f"postgres://u:{SECRET}@nowhere.invalid/n": "the name of its host is not known here",
        f"postgres://test@127.0.0.1:{port}/nowhere": "the server has no such database or user",
        f"postgres://nobody:{SECRET}@127.0.0.1:{port}/postgres": "the server has no such database or user",
        f"postgres://test@127.0.0.1:{port}/postgres?sslmode=require": "it does not speak TLS",
    }


@pytest.mark.parametrize("number", range(9))
def test_reason_is_named_without_secrets(number, tmp_path, django_db_blocker):
    url, words = list(addresses(tmp_path).items())[number]
    with django_db_blocker.unblock(), default_database(url), pytest.raises(DatabaseError) as raised:
        connection.ensure_connection()
    said = reason(raised.value)
    assert said.startswith(words)
    assert "127.0.0.1" not in said


def test_password_that_is_wrong_is_named(tmp_path, django_db_blocker):
    server = PostgreSQL().start()
    try:
        server.execute("CREATE USER ann PASSWORD 'right'")
        (server.folder / "data" / "pg_hba.conf").write_text("host all test all trust\nhost all ann all scram-sha-256\n")
        server.execute("SELECT pg_reload_conf()")
        url = f"postgres://ann:{SECRET}@127.0.0.1:{server.port}/postgres"
        with django_db_blocker.unblock(), default_database(url), pytest.raises(DatabaseError) as raised:
            connection.ensure_connection()
    finally:
        server.close()
    assert reason(raised.value) == "it does not accept the user or the password"


def test_unknown_failure_is_named_by_its_kind():
    assert reason(DatabaseError("ann@127.0.0.1")) == "it fails (DatabaseError)"


def test_start_and_doctor_name_it(demo_agent, tmp_path):
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/nowhere/db.sqlite3", "TRANSCRIPTS": "true"}
    words = "the database cannot be used: its file cannot be opened"
    with processes.gateway("serve", demo_agent.http_url, **settings) as gateway:
        while f"transcripts not kept for now: {words}" not in gateway.output():
            assert gateway.is_running
            time.sleep(0.02)
    env = {"INTERNAL_API_KEY": processes.KEY, "AGENT_URL": demo_agent.http_url, **settings}
    doctor = processes.run(["manage.py", "doctor"], **{f"GATEWAY__{name}": value for name, value in env.items()})
    assert doctor.returncode == 1
    assert "problem  database: cannot be used: its file cannot be opened: does its folder exist" in doctor.stdout

"""A line says where: which agent, store, database or provider it is about, without a password."""

import io
import json
import logging

import pytest

from relay.observability import logging_config, places
from relay.observability.log_handler import PatientHandler


@pytest.fixture
def configure(settings):
    def set_(**texts):
        settings.GATEWAY = {**settings.GATEWAY, **texts}

    return set_


@pytest.fixture
def written():
    """What a line of a logger holds."""
    stream = io.StringIO()
    handler = PatientHandler(stream)
    handler.setFormatter(logging_config.formatter(is_for_people=False))

    def write(logger, level, **extra):
        record = logging.getLogger(logger).makeRecord(logger, level, __file__, 1, "it failed", (), None, extra=extra)
        handler.handle(record)
        handler.flush()
        return json.loads(stream.getvalue().splitlines()[-1])

    return write


@pytest.mark.parametrize(
    ("logger", "texts", "member", "value"),
    [
        ("relay.agent.client", {"AGENT_URL": "http://user:secret@agent:8001/a"}, "agent", "agent:8001/a"),
        ("relay.agent.function", {"AGENT_PROTOCOL": "my_app.answer"}, "agent", "my_app.answer"),
        (
            "relay.layers.redis.group_commit",
            {"REDIS_URL": "rediss://user:secret@one:6379/2"},
            "store",
            "one:6379/2",
        ),
        (
            "relay.transcripts.writer",
            {"DATABASE_URL": "postgres://user:secret@db:5432/chat"},
            "database",
            "db:5432/chat",
        ),
        (
            "relay.transcripts.writer",
            {"DATABASE_URL": "sqlite:////var/lib/db.sqlite3"},
            "database",
            "/var/lib/db.sqlite3",
        ),
        ("relay.policies.key_set", {"JWKS_URL": "https://idp.example/keys?a=secret"}, "provider", "idp.example/keys"),
    ],
)
def test_a_line_names_the_place_that_its_logger_is_about(configure, written, logger, texts, member, value):
    configure(**texts)
    line = written(logger, logging.WARNING)
    assert line[member] == value
    assert "secret" not in json.dumps(line)
    assert member not in written(logger, logging.DEBUG)


def test_a_line_that_names_its_place_keeps_it(configure, written):
    configure(REDIS_URL="redis://one")
    assert written("relay.layers.redis.store", logging.ERROR, store="two")["store"] == "two"


def test_other_loggers_name_none(written):
    assert set(written("relay.delivery.consumer", logging.ERROR)) == {"event", "level", "logger", "timestamp"}


def test_a_wrong_setting_costs_no_line(configure, written):
    configure(AGENT_URL="nowhere")
    assert written("relay.agent.client", logging.WARNING)["event"] == "it failed"


def test_sessions_in_memory_are_named_so(configure):
    configure(REDIS_URL="")
    assert places.store() == "memory"

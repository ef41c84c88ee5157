"""System checks: each has an id, words that name the setting, and a hint."""

import re

import pytest
from django.core.checks import Error, Warning, run_checks
from django.db import connection

from relay.adapters import Adapter
from relay.agent.protocols.base import RESERVED_TYPES
from relay.checks import deployment, startup, stop_on_errors
from relay.checks.deployment import check_deployment
from relay.checks.startup import (
    BUFFER_TOO_SMALL,
    NO_ADAPTER,
    NO_AGENT,
    NO_HANDLER,
    NO_JWKS_URL,
    NO_POLICY,
    NO_SESSION_LAYER,
    NO_WEBHOOK_SECRET,
    NOT_HERE,
    RESERVED_TYPE,
    SECRET_NOT_SHARED,
    STORE_UNUSED,
    UNKNOWN_SETTING,
    WRONG_SETTING,
    check_adapters,
    check_agent,
    check_database,
    check_handlers,
    check_kind_of_database,
    check_policy,
    check_session_layer,
    check_settings,
    check_sizes,
    check_time_zones,
    check_webhooks,
)
from relay.policies import POLICIES
from tests.databases import default_database

DJANGOS_LAYER = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture
def gateway(settings):
    """Set the gateway's texts: ``gateway(MAX_QUEUE="5")``."""

    def configure(**texts):
        settings.GATEWAY = texts

    configure()
    return configure


def found(messages):
    return [message.id for message in messages]


def test_the_ids_never_change():
    assert (WRONG_SETTING, NO_SESSION_LAYER, BUFFER_TOO_SMALL, RESERVED_TYPE, UNKNOWN_SETTING) == (
        "relay.E001",
        "relay.E002",
        "relay.E003",
        "relay.E004",
        "relay.W001",
    )


def test_each_id_belongs_to_one_check():
    ids = [value for module in (startup, deployment) for value in vars(module).values() if is_id(value)]
    assert "relay.E001" in ids
    assert "relay.E014" in ids
    assert sorted(ids) == sorted(set(ids))


def is_id(value):
    return isinstance(value, str) and re.fullmatch(r"relay\.[EW]\d{3}", value) is not None


def test_the_defaults_pass(gateway):
    assert [*check_settings(None), *check_session_layer(None), *check_sizes(None)] == []


def test_every_check_is_registered(gateway):
    gateway(MAX_QUEUE="many", AGENT_ULR="x")
    assert {WRONG_SETTING, UNKNOWN_SETTING} <= set(found(run_checks()))
    gateway(BUFFER_BYTES="65536")
    assert BUFFER_TOO_SMALL in found(run_checks())


def test_no_check_queries_the_database():
    """As Django 6.1 checks before each command. (Here a query is an error: the test has no database.)"""
    assert found(run_checks(databases=["default"])) == []


def test_a_wrong_setting_is_an_error_that_names_it(gateway):
    gateway(MAX_QUEUE="many-many", ADMIN="maybe")
    first, second = check_settings(None)
    assert isinstance(first, Error)
    assert first.id == second.id == WRONG_SETTING
    assert "GATEWAY__MAX_QUEUE" in first.msg
    assert "many-many" not in first.msg
    assert ".env.example" in first.hint


def test_a_name_that_nothing_reads_is_a_warning_that_names_it(gateway):
    gateway(AGENT_ULR="http://private.example")
    (warning,) = check_settings(None)
    assert isinstance(warning, Warning)
    assert (warning.id, warning.hint) == (UNKNOWN_SETTING, "Check its spelling.")
    assert "GATEWAY__AGENT_ULR" in warning.msg
    assert "private" not in warning.msg


def test_a_layer_without_sessions_is_an_error(gateway, settings):
    settings.CHANNEL_LAYERS = DJANGOS_LAYER
    (error,) = check_session_layer(None)
    assert (error.id, "CHANNEL_LAYERS" in error.msg) == (NO_SESSION_LAYER, True)
    assert "MemorySessionLayer" in error.hint


MEMORY = {"BACKEND": "relay.layers.memory.MemorySessionLayer"}
REDIS = {"BACKEND": "relay.layers.redis.RedisSessionLayer"}


def test_a_layer_beside_the_projects_own_is_named(gateway, settings):
    settings.CHANNEL_LAYERS = {**DJANGOS_LAYER, "chat": MEMORY}
    assert found(check_session_layer(None)) == [NO_SESSION_LAYER]
    gateway(LAYER="chat")
    assert check_session_layer(None) == []
    gateway(LAYER="elsewhere")
    (error,) = check_session_layer(None)
    assert (error.id, "CHANNEL_LAYERS['elsewhere']" in error.msg) == (NO_SESSION_LAYER, True)


def test_a_layer_in_a_store_needs_its_address(gateway, settings):
    settings.CHANNEL_LAYERS = {"default": REDIS}
    (error,) = check_session_layer(None)
    assert (error.id, "GATEWAY__REDIS_URL" in error.msg) == (NO_SESSION_LAYER, True)
    gateway(REDIS_URL="redis://localhost")
    assert check_session_layer(None) == []


def test_an_address_of_a_store_that_no_layer_uses_is_named(gateway, settings):
    settings.CHANNEL_LAYERS = {"default": MEMORY}
    gateway(REDIS_URL="redis://localhost")
    (warning,) = check_session_layer(None)
    assert (warning.id, isinstance(warning, Warning)) == (STORE_UNUSED, True)


def test_the_layer_is_not_looked_at_while_a_setting_is_wrong(gateway, settings):
    settings.CHANNEL_LAYERS = DJANGOS_LAYER
    gateway(BUFFER_SIZE="none")
    assert check_session_layer(None) == check_sizes(None) == []


@pytest.mark.parametrize("other", ["MAX_EVENT_BYTES", "MAX_MESSAGE_BYTES"])
def test_a_log_holds_twice_the_largest_frame_and_not_one_byte_less(gateway, other):
    sizes = {"MAX_EVENT_BYTES": "1024", "MAX_MESSAGE_BYTES": "1024", other: "65536"}
    gateway(BUFFER_BYTES="131072", **sizes)
    assert check_sizes(None) == []
    gateway(BUFFER_BYTES="131071", **sizes)
    (error,) = check_sizes(None)
    assert error.id == BUFFER_TOO_SMALL
    assert "GATEWAY__BUFFER_BYTES" in error.msg
    assert other in error.msg
    assert error.hint


@pytest.mark.parametrize("name", [*sorted(RESERVED_TYPES), "assistant_message", "error"])
def test_a_type_of_the_protocol_itself_cannot_be_forwarded(gateway, name):
    gateway(FORWARD_TYPES=f"tool_result,{name}")
    (error,) = check_sizes(None)
    assert error.id == RESERVED_TYPE
    assert error.msg.endswith(f": {name}.")


def test_other_types_can(gateway):
    gateway(FORWARD_TYPES="tool_result,hitl_decision,switch_agent")
    assert check_sizes(None) == []


@pytest.mark.parametrize(
    "name", ["nowhere.Policy", "relay.policies.Missing", "relay.access.auth.admit", "relay.conf.Conf"]
)
def test_a_policy_that_is_none_is_an_error(gateway, name):
    gateway(WS_AUTH=name)
    (error,) = check_policy(None)
    assert (error.id, "GATEWAY__WS_AUTH" in error.msg) == (NO_POLICY, True)


@pytest.mark.parametrize("name", [*POLICIES, "relay.policies.open.OpenPolicy"])
def test_the_policies_there_are_pass(gateway, name):
    gateway(WS_AUTH=name, JWKS_URL="https://idp.example/keys")
    assert check_policy(None) == []


def test_tokens_need_an_address_of_keys(gateway):
    gateway(WS_AUTH="jwt")
    (error,) = check_policy(None)
    assert (error.id, "GATEWAY__JWKS_URL" in error.msg) == (NO_JWKS_URL, True)


async def handler(message, session):
    yield "handled"


@pytest.mark.parametrize("path", ["nowhere.rate", "relay.conf.Conf", f"{__name__}.found"])
def test_a_handler_that_is_none_is_an_error(gateway, path):
    gateway(MESSAGE_HANDLERS=f"help: {__name__}.handler, rate: {path}")
    (error,) = check_handlers(None)
    assert (error.id, "of rate" in error.msg) == (NO_HANDLER, True)


def test_a_type_of_the_protocol_itself_has_no_handler(gateway):
    gateway(MESSAGE_HANDLERS=f"cancel: {__name__}.handler")
    (error,) = check_sizes(None)
    assert (error.id, "MESSAGE_HANDLERS" in error.msg) == (RESERVED_TYPE, True)
    assert check_handlers(None) == []


class NoPath(Adapter):
    def read(self, request, limits): ...

    def translator(self, turn_id, request): ...


class Kiosk(NoPath):
    path = "kiosk/ask"


class SecondKiosk(Kiosk):
    pass


adapter = Kiosk()


@pytest.mark.parametrize("name", ["nowhere.Kiosk", "relay.conf.Conf", f"{__name__}.NoPath"])
def test_an_adapter_that_is_none_is_an_error(gateway, name):
    gateway(ADAPTERS=f"openai,{name}")
    (error,) = check_adapters(None)
    assert (error.id, "GATEWAY__ADAPTERS" in error.msg) == (NO_ADAPTER, True)


def test_two_adapters_at_one_path_are_an_error(gateway):
    gateway(ADAPTERS=f"{__name__}.Kiosk,{__name__}.SecondKiosk")
    (error,) = check_adapters(None)
    assert (error.id, "path of another" in error.msg) == (NO_ADAPTER, True)


def test_an_adapter_is_a_class_or_an_object(gateway):
    for name in ("Kiosk", "adapter"):
        gateway(ADAPTERS=f"ai-sdk,{__name__}.{name}")
        assert check_adapters(None) == []


def test_webhooks_need_a_secret(gateway):
    gateway(WEBHOOK_URL="https://hooks.example")
    (error,) = check_webhooks(None)
    assert (error.id, "GATEWAY__WEBHOOK_SECRET" in error.msg) == (NO_WEBHOOK_SECRET, True)
    gateway(WEBHOOK_URL="https://hooks.example", WEBHOOK_SECRET=f"whsec_{'MTEx' * 8}")
    assert check_webhooks(None) == []
    gateway()
    assert check_webhooks(None) == []


@pytest.mark.parametrize("name", ["ticket", "session"])
def test_workers_that_share_sessions_must_share_the_secret_key(gateway, name):
    gateway(WS_AUTH=name, REDIS_URL="redis://localhost")
    (warning,) = check_policy(None)
    assert (warning.id, "GATEWAY__SECRET_KEY" in warning.msg) == (SECRET_NOT_SHARED, True)
    gateway(WS_AUTH=name, REDIS_URL="redis://localhost", SECRET_KEY="x")
    assert check_policy(None) == []


OTHER_PROJECT = ["relay", "django.contrib.auth", "django.contrib.contenttypes"]


def test_in_another_project_djangos_own_settings_count(gateway, settings):
    settings.INSTALLED_APPS = OTHER_PROJECT
    gateway(WS_AUTH="ticket", REDIS_URL="redis://localhost")
    assert check_policy(None) == []
    gateway(SECRET_KEY="x", HTTPS="true")
    warnings = check_settings(None)
    assert found(warnings) == [NOT_HERE, NOT_HERE]
    assert ["SESSION_COOKIE_SECURE" in warning.hint for warning in warnings] == [True, False]


def test_the_deployment_of_another_project_is_judged_by_djangos_own_settings(gateway, settings):
    settings.INSTALLED_APPS = OTHER_PROJECT
    gateway(INTERNAL_API_KEY="of-our-own", WS_AUTH="session")
    settings.DEBUG, settings.ALLOWED_HOSTS = True, []
    debug, hosts, cookies = check_deployment(None)
    assert [message.msg.split()[0] for message in (debug, hosts)] == ["DEBUG", "ALLOWED_HOSTS"]
    assert "SESSION_COOKIE_SECURE" in cookies.hint
    settings.DEBUG, settings.ALLOWED_HOSTS = False, ["shop.example"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    assert check_deployment(None) == []
    gateway(INTERNAL_API_KEY="of-our-own", WS_AUTH="ticket")
    settings.SESSION_COOKIE_SECURE = False
    assert check_deployment(None) == []  # no cookie opens a session


def test_the_policy_is_not_looked_at_while_a_setting_is_wrong(gateway):
    gateway(WS_AUTH="none")
    assert check_policy(None) == []


@pytest.mark.parametrize(
    "path",
    ["nowhere.Agent", "relay.agent.protocols.Missing", "relay.conf.Conf", "relay.agent.protocols.base.AgentProtocol"],
)
def test_an_agent_that_is_none_is_an_error(gateway, path):
    gateway(AGENT_PROTOCOL=path)
    (error,) = check_agent(None)
    assert (error.id, "GATEWAY__AGENT_PROTOCOL" in error.msg) == (NO_AGENT, True)
    assert "openai" in error.hint


def test_an_agent_whose_module_raises_is_an_error_that_says_what(gateway, tmp_path, monkeypatch):
    (tmp_path / "broken_agent.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    gateway(AGENT_PROTOCOL="broken_agent.answer")
    (error,) = check_agent(None)
    assert error.msg.endswith(": division by zero")


@pytest.mark.parametrize("parameters", ["", "message", "message, session, third"])
def test_a_function_that_takes_no_message_and_session_is_an_error(gateway, tmp_path, monkeypatch, parameters):
    name = f"agent_of_{len(parameters)}"  # a module is imported once
    (tmp_path / f"{name}.py").write_text(f"async def answer({parameters}):\n    yield ''\n")
    monkeypatch.syspath_prepend(tmp_path)
    gateway(AGENT_PROTOCOL=f"{name}.answer")
    (error,) = check_agent(None)
    assert error.id == NO_AGENT
    assert "argument" in error.msg


@pytest.mark.parametrize("path", ["agent", "relay.agent.protocols.agent.OwnAgent"])
def test_the_agents_there_are_pass(gateway, path):
    gateway(AGENT_PROTOCOL=path, AGENT_API_KEY="x", AGENT_HEADERS="X-Team: x")
    assert check_agent(None) == []


def test_one_agent_has_one_credential(gateway):
    gateway(AGENT_API_KEY="s3cret", AGENT_HEADERS="authorization: Token t0ken")
    (error,) = check_agent(None)
    assert error.id == NO_AGENT
    assert "s3cret" not in error.msg
    assert "t0ken" not in error.msg


def test_the_agent_is_not_looked_at_while_a_setting_is_wrong(gateway):
    gateway(AGENT_PROTOCOL="none")
    assert check_agent(None) == []


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///x?foo=1",
        "sqlite:///x?transaction_mode=nonsense",
        "postgres://u:s3cret@h/db?foo=1",
        "postgres://u:s3cret@h",
        f"postgres://u:s3cret@h/{64 * 'x'}",
    ],
)
def test_an_address_that_the_databases_driver_refuses_is_an_error(gateway, url):
    with default_database(url):
        (error,) = check_database(None)
    assert (error.id, "GATEWAY__DATABASE_URL" in error.msg) == (WRONG_SETTING, True)
    assert "s3cret" not in f"{error.msg}{error.hint}"


@pytest.mark.parametrize("url", ["sqlite:///x?timeout=9", "postgres://u:p@h/db?sslmode=require&application_name=x"])
def test_an_address_that_it_takes_is_none(gateway, url):
    with default_database(url):
        assert check_database(None) == []


def test_an_error_stops_the_start_with_words(gateway):
    gateway(MAX_QUEUE="many")
    with pytest.raises(SystemExit) as stop:
        stop_on_errors()
    assert "GATEWAY__MAX_QUEUE" in stop.value.code
    assert WRONG_SETTING in stop.value.code


def test_a_warning_does_not_and_is_logged_once(gateway, caplog, monkeypatch):
    gateway(AGENT_ULR="x")
    monkeypatch.setattr("sys.argv", ["uvicorn"])
    stop_on_errors()
    assert "The gateway has no setting GATEWAY__AGENT_ULR" in caplog.text
    caplog.clear()
    monkeypatch.setattr("sys.argv", ["manage.py"])  # has shown it
    stop_on_errors()
    assert caplog.text == ""


def test_a_name_with_other_underscores_is_a_warning_that_says_how_it_is_written(gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_INTERNAL_API_KEY", "private")
    (warning,) = check_settings(None)
    assert (warning.id, warning.hint) == (UNKNOWN_SETTING, "Write it as GATEWAY__INTERNAL_API_KEY.")
    assert "private" not in warning.msg


@pytest.mark.parametrize(
    ("vendor", "kept", "found"),
    [("mysql", "true", ["relay.E017"]), ("mysql", "false", []), ("postgresql", "true", []), ("sqlite", "true", [])],
)
def test_transcripts_need_a_database_that_tells_names_apart(vendor, kept, found, settings, monkeypatch):
    monkeypatch.setattr(connection, "vendor", vendor)
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": kept}
    assert [message.id for message in check_kind_of_database(None)] == found


@pytest.mark.parametrize(("kept", "found"), [("true", ["relay.E016"]), ("false", [])])
def test_transcripts_need_time_zones(kept, found, settings):
    settings.USE_TZ = False
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": kept}
    assert [message.id for message in check_time_zones(None)] == found

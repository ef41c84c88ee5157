"""Settings: what each may be, and that a wrong one is named and never repeated."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

import relay
from relay import settings_from_environment
from relay.conf import Conf, SettingInvalid, read_texts
from relay.conf.parsers import GATEWAY_HEADERS
from relay.database.connection import database
from relay.protocol.agent_paths import READ, AgentPath


def conf(**texts):
    return Conf(lambda: texts)


def problems(**texts):
    return [problem.name for problem in conf(**texts).problems()]


def test_every_default_is_valid():
    assert problems() == []


def test_the_five_that_deployments_have_keep_their_defaults():
    defaults = conf()
    assert defaults.internal_api_keys == ("change-me-internal-key",)
    assert defaults.agent_url == "http://localhost:8001"
    assert defaults.request_timeout_seconds == 30.0
    assert defaults.log_level == "DEBUG"
    assert defaults.version == relay.__version__


@pytest.mark.parametrize(
    ("name", "attribute", "text", "value"),
    [
        ("INTERNAL_API_KEY", "internal_api_keys", "old, new", ("old", "new")),
        ("AGENT_URL", "agent_url", "https://agent.example:8443/base/", "https://agent.example:8443/base"),
        ("AGENT_URL", "agent_url", "http://[::1]:8001", "http://[::1]:8001"),
        ("AGENT_PROTOCOL", "agent_protocol", "OpenAI", "openai"),
        ("AGENT_PROTOCOL", "agent_protocol", "my_package.answer", "my_package.answer"),
        ("AGENT_PASS", "agent_pass", "", ()),
        ("AGENT_PASS", "agent_pass", "/agents", (AgentPath(READ, "/agents"),)),
        ("AGENT_PATH", "agent_path", "/chat?api-version=1", "/chat?api-version=1"),
        ("AGENT_API_KEY", "agent_api_key", " sk-1 ", "sk-1"),
        ("AGENT_HEADERS", "agent_headers", "X-Team: a:b ", (("X-Team", "a:b"),)),
        ("AGENT_HEADERS", "agent_headers", "X-A:1|X-B: two words|", (("X-A", "1"), ("X-B", "two words"))),
        (
            "AGENT_HEADERS",
            "agent_headers",
            "X-A: 1\r\n\nAuthorization: Token x\n",
            (("X-A", "1"), ("Authorization", "Token x")),
        ),
        ("AGENT_MESSAGE", "agent_message", "Nested", "nested"),
        ("AGENT_HISTORY", "agent_history_turns", "0", 0),
        ("AGENT_HISTORY_CHARACTERS", "agent_history_characters", "0", 0),
        ("AGENT_SYSTEM_PROMPT", "agent_system_prompt", "Be brief.\n\nBe kind.\n", "Be brief.\n\nBe kind."),
        ("REQUEST_TIMEOUT", "request_timeout_seconds", "0.1", 0.1),
        ("REQUEST_TIMEOUT", "request_timeout_seconds", " 5 ", 5.0),
        ("LOG_LEVEL", "log_level", "info", "INFO"),
        ("BUFFER_SIZE", "buffer_frames", "16", 16),
        ("BUFFER_BYTES", "buffer_bytes", "65536", 65_536),
        ("BUFFER_TTL", "buffer_ttl_seconds", "1", 1.0),
        ("PENDING_TTL", "pending_ttl_seconds", "86400", 86_400.0),
        ("MAX_SESSIONS", "max_sessions", "1", 1),
        ("MAX_EMPTY_SESSIONS", "max_empty_sessions", "1", 1),
        ("ADDRESS_CONNECT_RATE", "address_connect_rate", " Auto ", None),
        ("ADDRESS_CONNECT_RATE", "address_connect_rate", "0", 0),
        ("ADDRESS_CONNECT_RATE", "address_connect_rate", "30", 30),
        ("LEASE_SECONDS", "lease_seconds", "0.5", 0.5),
        ("MAX_MESSAGE_BYTES", "max_message_bytes", "1024", 1_024),
        ("MAX_QUEUE", "max_queue", "0", 0),
        ("ON_DISCONNECT", "on_disconnect", "Cancel", "cancel"),
        ("FORWARD_TYPES", "forward_types", "tool_result, ,hitl_decision,", ("tool_result", "hitl_decision")),
        ("ADAPTERS", "adapters", "AI-SDK, openai,", frozenset({"ai-sdk", "openai"})),
        ("ADAPTERS", "adapters", "Openai, shop.Kiosk", frozenset({"openai", "shop.Kiosk"})),
        ("ADAPTERS", "adapters", "", frozenset()),
        ("MESSAGE_HANDLERS", "message_handlers", "", {}),
        ("MESSAGE_HANDLERS", "message_handlers", "a: x.y, b-c:z.w,", {"a": "x.y", "b-c": "z.w"}),
        ("MESSAGE_FIELDS", "message_fields", "locale, x-1,", frozenset({"locale", "x-1"})),
        ("CHAT_PAGE", "chat_page", "True", True),
        ("CHAT_PAGE", "chat_page", "on", True),
        ("ADMIN", "admin", "0", False),
        ("ADMIN", "admin", "NO", False),
        ("ROOT_PATH", "root_path", "/chat/v2.0/", "/chat/v2.0"),
        ("LANGUAGE", "language", "RU", "ru"),
        ("LOG_FORMAT", "log_format", "Console", "console"),
        ("WEBHOOK_URL", "webhook_url", "https://hooks.example/a?b=c", "https://hooks.example/a?b=c"),
        ("WEBHOOK_SECRET", "webhook_secrets", "", ()),
        ("WEBHOOK_SECRET", "webhook_secrets", f"whsec_{'MTEx' * 8}, whsec_{'MTIz' * 21}", (b"111" * 8, b"123" * 21)),
        ("WEBHOOK_EVENTS", "webhook_events", "turn.waiting, turn.failed", frozenset({"turn.waiting", "turn.failed"})),
        ("WEBHOOK_WHEN", "webhook_when", "Unwatched", "unwatched"),
        ("WS_AUTH", "ws_auth", "Ticket", "ticket"),
        ("WS_AUTH", "ws_auth", "my_package.HousePolicy", "my_package.HousePolicy"),
        ("CHAT_LOGIN_URL", "chat_login_url", "/login/?a=b", "/login/?a=b"),
        ("CHAT_LOGIN_URL", "chat_login_url", "https://host/login", "https://host/login"),
        ("JWKS_URL", "jwks_url", "https://idp.example/keys?v=2", "https://idp.example/keys?v=2"),
        ("ALLOWED_HOSTS", "allowed_hosts", "a.example,b.example", ("a.example", "b.example")),
        ("REDIS_URL", "redis_url", "rediss://b/1", "rediss://b/1"),
        ("REDIS_PREFIX", "redis_prefix", "", "relay"),
        ("REDIS_PREFIX", "redis_prefix", "Team-1.chat_eu", "Team-1.chat_eu"),
        ("REDIS_PREFIX", "redis_prefix", 32 * "a", 32 * "a"),
        ("REDIS_URL", "redis_url", "redis+sentinel://a:1,b:2/s/0", "redis+sentinel://a:1,b:2/s/0"),
    ],
)
def test_a_text_and_its_value(name, attribute, text, value):
    assert getattr(conf(**{name: text}), attribute) == value
    assert problems(**{name: text}) == []


def wrong_texts():
    number = ["five", "nan", "inf", "-1", "1,5", "5s", "0x10", "1000000001", "1e300"]
    whole = ["five", "-1", "+5", "1.5", "1_000", "1e3", "٥", "1000000000001", 5_000 * "9"]
    boolean = ["maybe", "2", "truee"]
    return {
        "WORKERS": [*whole, "0", "257", "automatic"],
        "INTERNAL_API_KEY": ["", " ", "a,,b", "a,", "ké", "a\nb"],
        "REDIS_URL": [
            "localhost:6379",
            "http://localhost:6379",
            "redis://a,b",
            "redis://a,redis://b",
            "redis+sentinel://a:1/s, redis+sentinel://b:1/s",
            "redis+sentinel://a:1,b:2",
            "redis+sentinel:///service",
            "redis+sentinel://a:x/s",
            "redis+sentinel://a,,b/s",
            "redis+sentinel://a/s/x",
            "redis+sentinel://a/s?foo=1",
            "redis+sentinel://a/s#x",
            "redis://a:x",
            "redis://a:99999",
            "redis://a/x",
            "redis://a#x",
            "redis://a?db=x",
            "redis://a?foo=1",
            "redis://a?foo",
            "redis://a?connection_class=x",
            "redis://a?decode_responses=true",
            "redis://a?ssl_ca_certs=/x",
            "rediss://a?ssl_cert_reqs=nonsense",
            "redis://:p\nw@a",
            "redis+cluster://",
            "redis+cluster://a,,b",
            "redis+cluster://a:x",
            "redis+cluster://a:99999",
            "redis+cluster://a:1,b:2/1",
            "redis+cluster://u:p@a:1,u:p@b:2",
            "redis+cluster://a/service",
            "redis+cluster://a?db=0",
            "redis+cluster://a?foo=1",
            "redis+cluster://a#x",
            "redis+cluster://a?ssl_ca_certs=/x",
            "unix+cluster://a",
            "redis+clusters://a",
            "redis://[a",
            "unix://",
        ],
        "DATABASE_URL": [
            "nonsense",
            "nonsense://a/b",
            "sqlite",
            "sqlite:db.sqlite3",
            "mysql://u@h/db",
            "redshift://u@h/db",
            "sqlite://db.sqlite3",
            "postgres:a/b",
            "postgres://a:x/b",
            "postgres://a:99999/b",
            "postgres://%2Frun:x/b",
            "postgres://[a/b",
            "postgres://a/b?conn_max_age=x",
            "postgres://u:p\nw@a/b",
        ],
        "REDIS_PREFIX": ["a:b", "a b", "a*", "a?", "[a]", "{a}", "a\nb", "é", "a/b", 33 * "a"],
        "AGENT_URL": [
            "localhost:8001",
            "ftp://a",
            "http://",
            "http://a:port",
            "http://a:99999",
            "http://a?x=1",
            "http://a?",
            "http://a#x",
            "http://a#",
            "http://[::1",
            "http://a b",
            "http://a\nb",
            "http://a..b",
            "//a",
            "http://☃.example",
            "http://xn--a.example",
            "http://1.2.3.999",
        ],
        "AGENT_PROTOCOL": ["none", "a b.c", ".x", "a..b"],
        "AGENT_PASS": ["agents", "/agents,/health", "/a%2fb", "get /a"],
        "AGENT_PATH": ["chat", "http://a/b", "/a b", "/a#b", "/a\nb", "/é"],
        "AGENT_API_KEY": ["a b", "a\nb", "é"],
        "AGENT_HEADERS": [
            "X-Team",
            "X-Team:",
            ": x",
            "X Team: x",
            "X-Team: é",
            "X-Team: a\tb",
            "X-A: 1|x-a: 2",
            *(f"{name}: x" for name in sorted(GATEWAY_HEADERS)),
            "X-INTERNAL-AUTH: x",
        ],
        "AGENT_MESSAGE": ["deep"],
        "AGENT_HISTORY": [*whole, "1001"],
        "AGENT_HISTORY_CHARACTERS": whole,
        "AGENT_RESUME_SECONDS": number,
        "AGENT_RESUMES": boolean,
        "AGENT_CA": ["/etc/ssl/authority.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"],
        "AGENT_CLIENT_CERT": ["/nowhere/client.pem", __file__],
        "REQUEST_TIMEOUT": [*number, "0", "0.09"],
        "LOG_LEVEL": ["LOUD", "10"],
        "BUFFER_SIZE": [*whole, "15", "0"],
        "BUFFER_BYTES": [*whole, "65535"],
        "BUFFER_TTL": [*number, "0.9"],
        "PENDING_TTL": [*number, "0.9"],
        "MAX_SESSIONS": [*whole, "0"],
        "MAX_EMPTY_SESSIONS": [*whole, "0"],
        "LEASE_SECONDS": [*number, "0.4"],
        "MAX_MESSAGE_BYTES": [*whole, "1023"],
        "MAX_EVENT_BYTES": [*whole, "1023"],
        "TRANSCRIPT_DAYS": [*whole, "36501"],
        "TRANSCRIPT_EVENTS_BYTES": whole,
        "MAX_TURN_BYTES": [*whole, "1023"],
        "MAX_QUEUE": whole,
        "TURN_TIMEOUT": [*number, "0.9"],
        "HEARTBEAT_SECONDS": [*number, "0.1"],
        "ADAPTERS": ["aisdk", "openai,x", "openai ag-ui"],
        "MESSAGE_HANDLERS": ["a", "a: x", "a: x.y b: z", ": x.y", "a b: x.y", "a: x.y, a: z.w"],
        "MESSAGE_FIELDS": ["content", "locale,turn_id", "a b", "é", "x" * 65],
        "ON_DISCONNECT": ["stop", "cancelled"],
        "MAX_CONCURRENT_TURNS": [*whole, "0"],
        "DRAIN_SECONDS": number,
        "IDLE_TIMEOUT": number,
        "RATE_LIMIT": whole,
        "ADDRESS_RATE_LIMIT": whole,
        "MAX_SOCKETS": [*whole, "0"],
        "ADDRESS_MAX_SOCKETS": whole,
        "ADDRESS_CONNECT_RATE": [*whole, "automatic"],
        "MAX_JSON_DEPTH": [*whole, "0", "101"],
        "WEBHOOK_URL": ["hooks.example", "ftp://a", "https://a#x"],
        "WEBHOOK_SECRET": [
            *[
                "secret",
                "whsec_",
                "MTEx" * 8,
                f"whsec_{'MTEx' * 7}MTE=",
                f"whsec_{'MTEx' * 22}",
                f"whsec_{'MTEx' * 8}!",
            ],
            f"whsec_{'MTEx' * 8},secret",
        ],
        "ROOT_PATH": ["chat", "//chat", "/a b", "/../x", "/a/./b", "http://a/b", "/a?b"],
        "LANGUAGE": ["de", "russian"],
        "LOG_FORMAT": ["xml", "text"],
        "WEBHOOK_EVENTS": ["turn.started", "turn.failed,all"],
        "WEBHOOK_WHEN": ["never"],
        "WEBHOOK_CONTENT": ["some"],
        "WS_AUTH": ["none", "a b.c", ".x", "a..b"],
        "TICKET_SECONDS": [*number, "0.9"],
        "CHAT_LOGIN_URL": ["login", "//host/login", "javascript:alert(1)", "/a b", "https://"],
        "CHAT_CREDENTIAL_URL": ["ticket", "//host/ticket", "ftp://a/b"],
        "JWKS_URL": ["idp.example/jwks.json", "ftp://a", "https://a#x", "https://a b"],
        "JWT_LEEWAY": number,
        "ALLOW_NO_ORIGIN": boolean,
        "ALLOWED_ORIGINS": ["chat.example", "https://", "https://a/path", "*", "https://a,b"],
        "TRUSTED_PROXIES": ["many", "-1", "10.0.0.1/8", "10.0.0.300", "10.0.0.1,"],
        "TRANSCRIPTS": boolean,
        "CHAT_PAGE": boolean,
        "ADMIN": boolean,
        "METRICS_OPEN": boolean,
        "DEBUG": boolean,
        "HTTPS": boolean,
    }


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in wrong_texts().items() for text in texts])
def test_a_wrong_text_is_named_with_what_is_expected(name, text):
    (problem,) = conf(**{name: text}).problems()
    assert problem.name == name
    assert str(problem).startswith(f"GATEWAY__{name} must be ")


@pytest.mark.parametrize(
    ("name", "attribute", "given", "value"),
    [
        ("MAX_QUEUE", "max_queue", 5, 5),
        ("REQUEST_TIMEOUT", "request_timeout_seconds", 2.5, 2.5),
        ("BUFFER_TTL", "buffer_ttl_seconds", timedelta(hours=1), 3600.0),
        ("CHAT_PAGE", "chat_page", True, True),
        ("TRANSCRIPTS", "transcripts", False, False),
        ("MAX_QUEUE", "max_queue", None, 16),
        ("ADAPTERS", "adapters", ["ai-sdk", "openai"], frozenset({"ai-sdk", "openai"})),
        ("ADAPTERS", "adapters", {"ai-sdk"}, frozenset({"ai-sdk"})),
        ("INTERNAL_API_KEY", "internal_api_keys", ("old", "new"), ("old", "new")),
        ("AGENT_HEADERS", "agent_headers", {"X-A": "1, 2", "X-B": "3"}, (("X-A", "1, 2"), ("X-B", "3"))),
        ("AGENT_HEADERS", "agent_headers", ["X-A: 1", "X-B: 2"], (("X-A", "1"), ("X-B", "2"))),
        ("CHAT_LOGIN_URL", "chat_login_url", Path("/login"), "/login"),
    ],
)
def test_a_value_of_python_means_what_its_text_means(name, attribute, given, value):
    assert getattr(conf(**{name: given}), attribute) == value
    assert problems(**{name: given}) == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("MAX_QUEUE", 2.5),
        ("MAX_QUEUE", True),
        ("MAX_QUEUE", object()),
        ("CHAT_PAGE", 5),
        ("INTERNAL_API_KEY", []),
        ("INTERNAL_API_KEY", ["a,b"]),  # one key, and not two
        ("INTERNAL_API_KEY", [object()]),
        ("INTERNAL_API_KEY", b"key"),
        ("AGENT_HEADERS", {"X-A": "1|X-B: 2"}),
        ("AGENT_HEADERS", {"X-A": "1\nX-B: 2"}),
    ],
)
def test_a_value_without_a_meaning_is_named(name, given):
    assert problems(**{name: given}) == [name]


def test_a_wrong_text_is_not_repeated_because_it_may_be_secret():
    (problem,) = conf(INTERNAL_API_KEY="s3cret,").problems()
    assert "s3cret" not in f"{problem} {problem!r}"


@pytest.mark.parametrize("text", ["redis://a,redis://b", "unix:///run/a.sock, rediss://:secret@b/1"])
def test_several_stores_are_refused_in_words(text):
    (problem,) = conf(REDIS_URL=text).problems()
    assert "Name one store" in str(problem)
    assert "secret" not in str(problem)


@pytest.mark.parametrize("text", ["redis+cluster://u:secret@a:1,u:secret@b:2", "redis+cluster://u:secret@a:1,b:2/1"])
def test_what_a_cluster_has_once_is_said_in_words(text):
    (problem,) = conf(REDIS_URL=text).problems()
    assert "one login, before the first host, and no other database than 0" in str(problem)
    assert "secret" not in str(problem)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "redis+cluster", "postgres", "http"])
@pytest.mark.parametrize(("character", "escape"), [("/", "%2F"), ("?", "%3F"), ("#", "%23"), ("[", "%5B")])
@pytest.mark.parametrize("password", ["pass{}word", "12{}34"])  # the second reads like a port
def test_a_character_of_a_password_that_must_be_escaped_is_named(scheme, character, escape, password):
    name = {"postgres": "DATABASE_URL", "http": "AGENT_URL"}.get(scheme, "REDIS_URL")
    ending = {"postgres": "@h:5/db", "redis+sentinel": "@h:5/service"}.get(scheme, "@h:5")
    texts = conf(**{name: f"{scheme}://user:{password.format(character)}{ending}"})
    if (scheme, character) == ("postgres", "#"):  # the parser takes it, as a part of the password
        assert database(texts.database_url)["PASSWORD"] == password.format("#")
        return
    (problem,) = texts.problems()
    assert f"In a user name or a password write {character} as {escape}." in str(problem)
    assert "word" not in str(problem).replace("a password", "")
    assert "34" not in str(problem)
    escaped = f"{scheme}://user:{password.format(escape)}{ending}"
    assert problems(**{name: escaped}) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", "redis://h?client_name=a@b&db=1"),
        ("REDIS_URL", "redis://h:6379/0/"),
        ("REDIS_URL", "redis://:p,w%@[::1]:6379/1"),
        ("REDIS_URL", "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/x"),
        ("REDIS_URL", "unix://u:p@/run/a@b.sock?db=1"),
        ("REDIS_URL", "redis+sentinel://u:p@[::1]:26379,b/service/3?sentinel_password=x"),
        ("REDIS_URL", "redis+cluster://u:p%40@[::1]:7000,b/0?socket_keepalive=yes"),
        ("REDIS_URL", "rediss+cluster://a,b,c:7000/?ssl_ca_certs=/x"),
        ("DATABASE_URL", "sqlite:////var/lib/a@b/db"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("DATABASE_URL", "postgres:////run/postgresql/db"),
        ("DATABASE_URL", "postgres://u:p@%2Frun%2Fpostgresql:5433/db"),
        ("DATABASE_URL", "postgresql://u:p%40w@a,b:5433/db?sslmode=require&conn_max_age=60"),
        ("AGENT_URL", "http://user:p%2Fw@h"),
    ],
)
def test_other_addresses_are_taken(name, text):
    assert problems(**{name: text}) == []


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgres://u:p@%2Frun%2FPostgreSQL/db", "/run/PostgreSQL", ""),
        ("postgres://u:p@%2frun%2fpg:5433/db?sslmode=disable", "/run/pg", 5433),
        ("postgres://%2Frun%2Fp%20g/db", "/run/p g", ""),
        ("postgres:////run/pg/db", "/run/pg", ""),
        ("postgres:///db?host=/run/pg", "", ""),
        ("postgres://Host.example:5433/db", "host.example", 5433),
    ],
)
def test_a_database_may_be_at_a_socket(url, host, port):
    config = database(url)
    assert (config["HOST"], config["PORT"], config["NAME"]) == (host, port, "db")


@given(st.sampled_from(["REDIS_URL", "DATABASE_URL", "AGENT_URL", "JWKS_URL"]), st.text(max_size=30), st.booleans())
def test_any_address_is_taken_or_refused_in_words(name, text, is_after_scheme):
    scheme = {"REDIS_URL": "redis", "DATABASE_URL": "postgres"}.get(name, "http")
    assert problems(**{name: f"{scheme}://u:{text}@h/1" if is_after_scheme else text}) in ([], [name])


def test_every_setting_that_can_be_wrong_has_its_wrong_texts_above():
    any_text = {
        "AGENT_MODEL",
        "AGENT_SYSTEM_PROMPT",
        "VERSION",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
        "FORWARD_TYPES",
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "SILENCED_CHECKS",
        "LAYER",
    }
    assert {setting.name for setting in conf().settings()} == any_text | set(wrong_texts())


def test_a_wrong_text_is_refused_where_it_is_asked_for():
    with pytest.raises(SettingInvalid):
        _ = conf(MAX_QUEUE="many").max_queue


@pytest.mark.parametrize("setting", list(Conf(dict).settings()), ids=lambda setting: setting.name)
def test_an_empty_text_counts_as_unset_but_for_the_key(setting):
    for text in ("", "  "):
        assert problems(**{setting.name: text}) == (["INTERNAL_API_KEY"] if setting.name == "INTERNAL_API_KEY" else [])


def test_every_problem_is_found_at_once_in_the_order_of_the_settings():
    assert problems(ADMIN="maybe", MAX_QUEUE="many", AGENT_URL="nowhere") == ["AGENT_URL", "MAX_QUEUE", "ADMIN"]


def test_names_that_nothing_reads_are_found():
    assert conf(AGENT_ULR="x", MAX_QUEUE="5", agent_url="y").unknown_names() == ["AGENT_ULR", "agent_url"]


def test_names_that_are_settings_but_for_case_and_underscores_are_found():
    names = ["GATEWAY_INTERNAL_API_KEY", "gateway__admin", "Gateway_Secret_Key_File", "GATEWAY_PORT", "GATEWAY__ADMIN"]
    assert list(conf().misspelt_names(names)) == [
        ("GATEWAY_INTERNAL_API_KEY", "GATEWAY__INTERNAL_API_KEY"),
        ("Gateway_Secret_Key_File", "GATEWAY__SECRET_KEY_FILE"),
        ("gateway__admin", "GATEWAY__ADMIN"),
    ]


def test_a_wrong_text_is_in_no_traceback():
    with pytest.raises(SettingInvalid) as raised:
        _ = conf(RATE_LIMIT="s3cret").rate_limit
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_without_problems_only_the_wrong_texts_are_unset():
    mended = conf(MAX_QUEUE="many", BUFFER_SIZE="100").without_problems()
    assert (mended.max_queue, mended.buffer_frames) == (16, 100)
    assert list(mended.problems()) == []


def test_a_setting_is_parsed_once():
    read = []
    texts = {"MAX_QUEUE": "5"}
    read_twice = Conf(lambda: read.append("texts") or texts)
    assert (read_twice.max_queue, read_twice.max_queue) == (5, 5)
    assert read == ["texts"]
    texts["MAX_QUEUE"] = "6"
    read_twice.forget()
    assert read_twice.max_queue == 6


def test_the_settings_follow_django_when_it_says_that_they_changed(settings):
    from relay.conf import conf as own

    before = own.max_queue
    with override_settings(GATEWAY={**settings.GATEWAY, "MAX_QUEUE": str(before + 1)}):
        assert own.max_queue == before + 1
    assert own.max_queue == before


def test_without_the_setting_of_django_every_default_counts(settings):
    from relay.conf import conf as own

    del settings.GATEWAY
    own.forget()
    assert own.max_queue == 16


def test_the_environment_replaces_what_it_names_and_nothing_else(tmp_path):
    (tmp_path / "key").write_text("secret")
    environment = {
        "GATEWAY__INTERNAL_API_KEY_FILE": str(tmp_path / "key"),
        "GATEWAY__AGENT_URL": "http://there",
        "GATEWAY__MAX_QUEUE": "",
        "PATH": "/bin",
    }
    own = {"AGENT_URL": "http://here", "MAX_QUEUE": 5, "CHAT_PAGE": True}
    merged = conf(**own | settings_from_environment(environment))
    assert (merged.agent_url, merged.max_queue, merged.chat_page) == ("http://there", 5, True)
    assert merged.internal_api_keys == ("secret",)


def test_the_environments_key_is_never_empty_by_mistake():
    assert problems(**settings_from_environment({"GATEWAY__INTERNAL_API_KEY": ""})) == ["INTERNAL_API_KEY"]


class TestFiles:
    def test_any_text_may_be_in_a_file_as_secrets_are(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("old, new\n")
        texts = read_texts({"GATEWAY__INTERNAL_API_KEY_FILE": str(secret), "GATEWAY__ADMIN": "true", "PATH": "/bin"})
        assert texts == {"INTERNAL_API_KEY": "old, new\n", "ADMIN": "true"}
        assert conf(**texts).internal_api_keys == ("old", "new")

    def test_a_text_that_is_empty_gives_way_to_the_file_and_an_empty_path_to_the_text(self, tmp_path):
        (tmp_path / "secret").write_text("s")
        environment = {"GATEWAY__SECRET_KEY": "", "GATEWAY__SECRET_KEY_FILE": str(tmp_path / "secret")}
        assert read_texts(environment) == {"SECRET_KEY": "s"}
        assert read_texts({"GATEWAY__SECRET_KEY": "s", "GATEWAY__SECRET_KEY_FILE": ""}) == {"SECRET_KEY": "s"}

    def test_a_file_that_cannot_be_read_is_named_and_its_path_is_not(self, tmp_path):
        (tmp_path / "bytes").write_bytes(b"\xff")
        (tmp_path / "empty").write_text("\n")
        for path in (tmp_path / "none", tmp_path, tmp_path / "bytes", tmp_path / "empty"):
            found = conf(**read_texts({"GATEWAY__DATABASE_URL_FILE": str(path)}))
            (problem,) = found.problems()
            assert str(problem).startswith("GATEWAY__DATABASE_URL_FILE must be a file")
            assert str(path) not in str(problem)
            assert found.unknown_names() == []
            assert list(found.without_problems().problems()) == []
            with pytest.raises(SettingInvalid):
                _ = found.database_url  # and not the default, whatever did not ask for problems first

    def test_a_byte_order_mark_is_no_part_of_the_text(self, tmp_path):
        (tmp_path / "secret").write_text("s", encoding="utf-8-sig")
        assert read_texts({"GATEWAY__SECRET_KEY_FILE": str(tmp_path / "secret")}) == {"SECRET_KEY": "s"}

    def test_a_text_and_a_file_for_it_are_one_too_many(self, tmp_path):
        (tmp_path / "secret").write_text("s")
        environment = {"GATEWAY__SECRET_KEY": "t", "GATEWAY__SECRET_KEY_FILE": str(tmp_path / "secret")}
        (problem,) = conf(**read_texts(environment)).problems()
        assert problem.name == "SECRET_KEY_FILE"

    def test_a_file_for_a_setting_that_is_none_is_unknown(self):
        assert conf(**read_texts({"GATEWAY__SECRET_KEE_FILE": "/x"})).unknown_names() == ["SECRET_KEE_FILE"]


def test_no_two_settings_have_one_name():
    names = [setting.name for setting in conf().settings()]
    assert len(names) == len(set(names))


def test_the_package_gives_out_no_other_name():
    with pytest.raises(ImportError, match="settings_from_file"):
        from relay import settings_from_file  # noqa: F401

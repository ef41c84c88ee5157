"""Settings: what each may be, and that a wrong one is named and never repeated."""

import pytest

from relay.conf import Conf, SettingInvalid, read_texts


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
    assert defaults.version == "0.1.0"


@pytest.mark.parametrize(
    ("name", "attribute", "text", "value"),
    [
        ("INTERNAL_API_KEY", "internal_api_keys", "old, new", ("old", "new")),
        ("AGENT_URL", "agent_url", "https://agent.example:8443/base/", "https://agent.example:8443/base"),
        ("AGENT_URL", "agent_url", "http://[::1]:8001", "http://[::1]:8001"),
        ("REQUEST_TIMEOUT", "request_timeout_seconds", "0.1", 0.1),
        ("REQUEST_TIMEOUT", "request_timeout_seconds", " 5 ", 5.0),
        ("LOG_LEVEL", "log_level", "info", "INFO"),
        ("BUFFER_SIZE", "buffer_frames", "16", 16),
        ("BUFFER_BYTES", "buffer_bytes", "65536", 65_536),
        ("BUFFER_TTL", "buffer_ttl_seconds", "1", 1.0),
        ("MAX_SESSIONS", "max_sessions", "1", 1),
        ("LEASE_SECONDS", "lease_seconds", "0.5", 0.5),
        ("MAX_MESSAGE_BYTES", "max_message_bytes", "1024", 1_024),
        ("MAX_QUEUE", "max_queue", "0", 0),
        ("ON_DISCONNECT", "on_disconnect", "Cancel", "cancel"),
        ("FORWARD_TYPES", "forward_types", "tool_result, ,hitl_decision,", ("tool_result", "hitl_decision")),
        ("CHAT_PAGE", "chat_page", "True", True),
        ("CHAT_PAGE", "chat_page", "on", True),
        ("ADMIN", "admin", "0", False),
        ("ADMIN", "admin", "NO", False),
        ("WS_AUTH", "ws_auth", "Ticket", "ticket"),
        ("WS_AUTH", "ws_auth", "my_package.HousePolicy", "my_package.HousePolicy"),
        ("JWKS_URL", "jwks_url", "https://idp.example/keys?v=2", "https://idp.example/keys?v=2"),
        ("ALLOWED_HOSTS", "allowed_hosts", "a.example,b.example", ("a.example", "b.example")),
        ("REDIS_URL", "redis_urls", "redis://a, rediss://b/1", ("redis://a", "rediss://b/1")),
        (
            "REDIS_URL",
            "redis_urls",
            "redis+sentinel://a:1,b:2/s/0,redis+sentinel://c/s",
            ("redis+sentinel://a:1,b:2/s/0", "redis+sentinel://c/s"),
        ),
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
        "INTERNAL_API_KEY": ["", " ", "a,,b", "a,", "ké", "a\nb"],
        "REDIS_URL": [
            "localhost:6379",
            "http://localhost:6379",
            "redis://a,b",
            "redis+sentinel://a:1,b:2",
            "redis+sentinel:///service",
        ],
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
        ],
        "REQUEST_TIMEOUT": [*number, "0", "0.09"],
        "LOG_LEVEL": ["LOUD", "10"],
        "BUFFER_SIZE": [*whole, "15", "0"],
        "BUFFER_BYTES": [*whole, "65535"],
        "BUFFER_TTL": [*number, "0.9"],
        "MAX_SESSIONS": [*whole, "0"],
        "LEASE_SECONDS": [*number, "0.4"],
        "MAX_MESSAGE_BYTES": [*whole, "1023"],
        "MAX_EVENT_BYTES": [*whole, "1023"],
        "MAX_TURN_BYTES": [*whole, "1023"],
        "MAX_QUEUE": whole,
        "TURN_TIMEOUT": [*number, "0.9"],
        "HEARTBEAT_SECONDS": [*number, "0.1"],
        "ON_DISCONNECT": ["stop", "cancelled"],
        "MAX_CONCURRENT_TURNS": [*whole, "0"],
        "DRAIN_SECONDS": number,
        "IDLE_TIMEOUT": number,
        "RATE_LIMIT": whole,
        "ADDRESS_RATE_LIMIT": whole,
        "MAX_SOCKETS": [*whole, "0"],
        "ADDRESS_MAX_SOCKETS": whole,
        "MAX_JSON_DEPTH": [*whole, "0", "101"],
        "WS_AUTH": ["none", "a b.c", ".x", "a..b"],
        "TICKET_SECONDS": [*number, "0.9"],
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


def test_a_wrong_text_is_not_repeated_because_it_may_be_secret():
    (problem,) = conf(INTERNAL_API_KEY="s3cret,").problems()
    assert "s3cret" not in f"{problem} {problem!r}"


def test_every_setting_that_can_be_wrong_has_its_wrong_texts_above():
    any_text = {
        "VERSION",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
        "FORWARD_TYPES",
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "SILENCED_CHECKS",
        "DATABASE_URL",
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

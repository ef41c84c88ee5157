"""Settings: what each may be, and that a wrong one is named and never repeated."""

import pytest

from relay.conf import Conf, SettingInvalid


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
        ("ALLOWED_HOSTS", "allowed_hosts", "a.example,b.example", ("a.example", "b.example")),
    ],
)
def test_a_text_and_its_value(name, attribute, text, value):
    assert getattr(conf(**{name: text}), attribute) == value
    assert problems(**{name: text}) == []


def wrong_texts():
    number = ["five", "nan", "inf", "-1", "1,5", "5s", "0x10"]
    whole = ["five", "-1", "+5", "1.5", "1_000", "1e3", "٥"]
    boolean = ["maybe", "2", "truee"]
    return {
        "INTERNAL_API_KEY": ["", " ", "a,,b", "a,", "ké", "a\nb"],
        "REDIS_URL": ["localhost:6379", "http://localhost:6379", "redis://a,b"],
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
        "ALLOWED_ORIGINS": ["chat.example", "https://", "https://a/path", "*", "https://a,b"],
        "TRUSTED_PROXIES": ["many", "-1", "10.0.0.1/8", "10.0.0.300", "10.0.0.1,"],
        "CHAT_PAGE": boolean,
        "ADMIN": boolean,
        "DEBUG": boolean,
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
    any_text = {"VERSION", "FORWARD_TYPES", "SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL"}
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


def test_without_problems_only_the_wrong_texts_are_unset():
    mended = conf(MAX_QUEUE="many", BUFFER_SIZE="100").without_problems()
    assert (mended.max_queue, mended.buffer_frames) == (16, 100)
    assert list(mended.problems()) == []


def test_no_two_settings_have_one_name():
    names = [setting.name for setting in conf().settings()]
    assert len(names) == len(set(names))

"""Which paths of the agent are passed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.agent_paths import READ, AgentPath, is_valid_path, parse_agent_path, query_without_credential


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/agents", AgentPath(READ, "/agents")),
        ("/a/b.json", AgentPath(READ, "/a/b.json")),
        ("/files/*", AgentPath(READ, "/files", is_prefix=True)),
        ("POST /feedback", AgentPath(frozenset({"POST"}), "/feedback")),
        ("GET  POST /feedback", AgentPath(READ | {"POST"}, "/feedback")),
    ],
)
def test_path_is_read(text, path):
    assert parse_agent_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "agents",
            "/",
            "/*",
            "//",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a/..;/b",
            "/a/.;x",
            "/a/",
            "/a%2fb",
            "/a*",
            "/a/*/b",
            "/a?b",
            "POST",
        ),
        *("get /a", "TRACE /a", "/health", "/ready", "/metrics", "/admin/x", "/static/x", "/ws/x", "/api/v1/agents"),
        *("/v1/models", "/favicon.ico"),
    ],
)
def test_text_that_is_no_path_or_the_gateways_own_is_refused(text):
    with pytest.raises(ValueError):
        parse_agent_path(text)


def test_path_covers_itself_and_only_a_prefix_those_below():
    files, agents = parse_agent_path("/files/*"), parse_agent_path("/agents")
    assert [files.covers(path) for path in ("/files", "/files/a", "/files/a/b", "/filesx")] == [True, True, True, False]
    assert [agents.covers(path) for path in ("/agents", "/agents/a", "/agentsx")] == [True, False, False]


@given(st.text(alphabet="/.%\\ a\x00é?#;", max_size=12))
def test_valid_path_has_nothing_to_resolve_or_to_decode(path):
    if is_valid_path(path):
        assert not set(path) & set("%\\ \x00é?#")
        assert all(segment.partition(";")[0] not in (".", "..") for segment in path.split("/")[1:])
        assert "" not in path.split("/")[1:]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("ticket=x", ""),
        ("a=1&ticket=x&b=%2F", "a=1&b=%2F"),
        ("%74icket=x&a", "a"),
        ("ticket&tickets=1&Ticket=2", "tickets=1&Ticket=2"),
    ],
)
def test_query_is_passed_without_the_credential(query, left):
    assert query_without_credential(query) == left

"""Every regular expression that meets foreign text goes over it once.

So ten times the text takes about ten times the time. A search that goes back takes a hundred times as
long, so a ratio tells the two apart on any machine.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from pathlib import Path

import pytest

from relay.protocol import origins
from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, SESSION_ID_PATTERN, TURN_CURSOR_PATTERN

ROOT = Path(__file__).resolve().parent.parent.parent
CHARACTERS = 2_000
MAX_RATIO = 35  # ten if the time is linear, a hundred if it is quadratic
LEAST_SECONDS = 0.0002  # what takes less is not measured well

PIECES = [
    *'a-_.:/ \t\n\r0["=;,*~%é',
    *("a.", "a-", "a/", "/a", "-.", "a:", "a:1 ", ". ", "1.", "1.1.1.1:", "::", "[:", "a\n", " \n", "a ", ", ", ",a"),
    *(
        "eyJ",
        "eyJ-",
        "eyJ.",
        "-eyJ",
        "token",
        "token-",
        "token=",
        "token ",
        "api key",
        "api key ",
        "key=",
        "sk-",
        "key-a",
    ),
    *("bearer ", "bearer", "http", "http:", "a://", "https://a.", "\n at ", " at x\n", " at x", "\tat a\r", 'File "'),
    *("Traceback", "count to ", "/api/v1/sessions/", "a/events", "00-", "0;", "0;a", "\ud83d", "\x1b["),
]
ENDINGS = ["", "!\n"]

# What is no constant of its module: made from a setting, or by somebody else from our text.
MADE = {
    "origins.origin_pattern": re.compile(origins.origin_pattern("https://*.example.com")),
    "client_messages.SESSION_ID_PATTERN": re.compile(SESSION_ID_PATTERN),
    "client_messages.CLIENT_MESSAGE_ID_PATTERN": re.compile(CLIENT_MESSAGE_ID_PATTERN),
    "client_messages.TURN_CURSOR_PATTERN": re.compile(TURN_CURSOR_PATTERN),
}


ANCHORED = ("match", "fullmatch")


def found() -> dict[str, tuple[re.Pattern, frozenset[str]]]:
    """Every pattern of the project, constants of modules and those within functions; and how each is used."""
    patterns = {name: (pattern, frozenset(ANCHORED)) for name, pattern in MADE.items()}
    for path in sorted([*(ROOT / "relay").rglob("*.py"), *(ROOT / "gateway_project").rglob("*.py")]):
        source = path.read_text()
        if not re.search(r"^(import re$|from re )", source, re.MULTILINE):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for constant, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern):
                uses = re.findall(rf"\b{constant}\.(\w+)\(", source)
                patterns[f"{name}.{constant}"] = value, frozenset(uses or ["search"])
        for call in within_functions(ast.parse(source)):
            given = call.args[0]
            if isinstance(given, ast.Constant):
                patterns[f"{name}:{call.lineno}"] = re.compile(given.value), frozenset([call.func.attr])
            else:
                assert ast.unparse(given).partition("(")[0] in str(MADE), f"{path}:{call.lineno} is not tested"
    return patterns


def within_functions(tree: ast.Module) -> list[ast.Call]:
    """The calls of ``re`` that a function makes with a pattern."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    calls = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).startswith("re.") and call.func.attr != "escape"]


PATTERNS = found()


def texts(piece, ending, is_bytes):
    """A text of one piece, and ten of it."""
    for characters in (CHARACTERS, 10 * CHARACTERS):
        text = piece * (characters // len(piece)) + ending
        yield text.encode("utf-8", "replace") if is_bytes else text


def cpu_seconds(pattern, uses, text):
    began_at = time.process_time()
    for use in uses & set(ANCHORED):
        getattr(pattern, use)(text)
    if uses - set(ANCHORED):
        for _ in pattern.finditer(text):
            pass
    return time.process_time() - began_at


def is_linear(pattern, uses, short, long):
    least = max(cpu_seconds(pattern, uses, short), LEAST_SECONDS)
    return cpu_seconds(pattern, uses, long) < MAX_RATIO * least


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_search_goes_over_a_hostile_text_once(name):
    pattern, uses = PATTERNS[name]
    for piece in PIECES:
        for ending in ENDINGS:
            short, long = texts(piece, ending, isinstance(pattern.pattern, bytes))
            assert any(is_linear(pattern, uses, short, long) for _ in range(3)), (piece, ending)


def test_search_that_goes_back_is_told_apart():
    """As the one for JSON web tokens did once."""
    short, long = texts("eyJ-", "", is_bytes=False)
    assert not is_linear(re.compile(r"\beyJ[\w-]+\.[\w-]+"), {"sub"}, short, long)


def test_patterns_are_found():
    assert {
        "relay.agent.redaction._PRIVATE",
        "relay.agent.redaction._TRACE",
        "relay.agent.http_body._CHUNK_HEAD",
    } <= set(PATTERNS)
    assert PATTERNS["relay.agent.http_body._CHUNK_HEAD"][1] == {"match"}

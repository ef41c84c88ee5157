"""Plain words: a sentence names its subject, an event starts, and a name that was replaced does not come back."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each with advice. A question may start with "who" or "what"; other sentences may not.
PLAIN = {
    r"\b(no|some|any|every)body\b": "no client, an operator, everyone: name the subject",
    r"\bwho(m|se)?(so)?ever\b": "any client that …, the process that …",
    r"(?:\A|[.:;(] ?)whom?\b": "the client that …",
    r"\b(?:to|of|by|for|from|with) whom\b": "to the client that …",
    r"(?:\A|[.:;] )what\b": "name the thing",
    r"\bbegun\b|\bbegan\b|\bbegin(s|ning)?\b(?! with\b)": "start",
    r"\banew\b": "again",
    r"\bwish(es|ed)?\b": "request",
    r"\bstands? (in|at|there)\b": "is described in, is in",
}
PLAIN_NAME = re.compile(r"(?:^|_)(begin|began|begun|anew|wish|wishes|nobody|somebody|everybody|whoever)(?:_|$)", re.I)
ALLOWED = {
    "This conversation belongs to another user.",  # on the wire, and clients may compare it
    "Who asked; empty if nobody logged in.",  # in a migration
}

ANYWHERE = re.compile(r"\b(?:(?:no|some|every)body|who(?:m|se)?ever|begun|anew|wish(?:es|ed)?)\b", re.IGNORECASE)

# Phrases that read as if translated, and that no sentence here needs.
TRANSLATED = re.compile(
    r"\b(?:looks? whether|what became of|no way back|in the place of|for ever|sen[dt]s? away|polite in trouble"
    r"|three in the morning|stands? (?:in(?! for)|there)|takes any host|speaks on|broke off before|or else the"
    r"|is no (?:JSON|number|text|object))\b",
    re.IGNORECASE,
)

# Names of parts and of metrics that have better ones now.
REPLACED = (
    r"quiet_seconds|stuck_seconds|Inbox|Outflow|EndOfTurn|Alarm|Pulse|patience\.in_time|seen_through|Seats|check_viewers"
    r"|Departures|Shelves|Watcher|Waiters|begin_append|may_open_socket|garbage\.settle|send_away|_see_off"
    r"|_calmly|_until_done|_recall|_Errand|TicketWish|DrainWish|OperatorWords|gateway_announcement_\w+"
    r"|(gateway_)?clients_sent_away(_total)?|(gateway_)?turns_reaped(_total)?"
)
SOURCES = sorted((ROOT / "relay").rglob("*.py"))


def comments(source: str) -> Iterator[str]:
    """Yield the comments, those of several lines in one piece."""
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.strip() != token.string:
            yield token.string.removeprefix("#").strip()
        elif token.type == tokenize.COMMENT:
            before += token.string.removeprefix("#")
        elif token.type != tokenize.NL and before:
            yield before.strip()
            before = ""


def texts(source: str) -> Iterator[str]:
    """Yield comments, docstrings and other strings, each paragraph on its own and without line breaks."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    strings = (value for value in constants if isinstance(value, str) and " " in value)
    for text in (*comments(source), *strings):
        for paragraph in re.split(r"\n\s*\n", text):
            yield " ".join(paragraph.split())


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences that are no questions."""
    yield from (sentence for sentence in re.split(r"(?<=[.?!]) ", text) if not sentence.endswith("?"))


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "relay")))
def test_words_of_the_code_are_plain(path):
    source = path.read_text()
    found = [
        f"{sentence!r}: {advice}"
        for text in texts(source)
        if text not in ALLOWED
        for sentence in sentences(text)
        for pattern, advice in PLAIN.items()
        if re.search(pattern, sentence, re.IGNORECASE)
    ]
    assert not found
    assert not [text for text in texts(source) if text not in ALLOWED and TRANSLATED.search(text)]
    assert not [name for name in names(ast.parse(source)) if PLAIN_NAME.search(name)]


PROSE = [
    path
    for pattern in (
        "*.md",
        ".env.example",
        "docs/**/*.md",
        "deploy/**/*",
        "relay/static/**/*.js",
        "relay/templates/**/*",
        "clients/**/*",
        "sdk/**/*.md",
        "sdk/**/*.js",
    )
    for path in sorted(ROOT.glob(pattern))
    if path.is_file() and path.name != "CHANGELOG.md"
]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_of_the_documentation_and_the_pages_are_plain(path):
    text = path.read_text()
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    assert not ANYWHERE.findall(text)
    assert not TRANSLATED.findall(" ".join(text.split()))


def test_no_replaced_name_is_left():
    paths = [path for top in ("relay", "gateway_project", "deploy", "docs") for path in (ROOT / top).rglob("*")]
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in paths
        if path.suffix in {".py", ".js", ".html", ".md", ".yml", ".yaml", ".json", ".conf"}
        for match in re.finditer(rf"\b({REPLACED})\b", path.read_text())
    ]
    assert not found

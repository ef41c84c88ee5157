"""Tests wait as long as a loaded machine needs: none leaves the limit of a client to the client's library.

``httpx`` gives up after five seconds, and the synchronous client of ``websockets`` opens for ten: a machine that other
tests keep busy may take as long.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
HTTPX = {"get", "post", "put", "patch", "delete", "head", "options", "stream", "request", "Client", "AsyncClient"}


def unlimited(tree: ast.AST) -> Iterator[int]:
    """The lines of the calls that have no limit of their own; a transport in this process needs none."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "websockets.sync.client"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {keyword.arg for keyword in node.keywords}
            called = [node.func, *node.args[:1]]  # the second of ``asyncio.to_thread``
            if any(is_of_httpx(each) for each in called) and not given & {"timeout", "transport"}:
                yield node.lineno
            if isinstance(node.func, ast.Name) and node.func.id in imported and "open_timeout" not in given:
                yield node.lineno


def is_of_httpx(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) == "httpx" and node.attr in HTTPX


def test_no_client_has_the_limit_of_its_library():
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if "node_modules" not in path.parts
        for line in unlimited(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("httpx.get('x')", [1]),
        ("httpx.get('x', timeout=60)", []),
        ("asyncio.to_thread(httpx.post, 'x')", [1]),
        ("httpx.AsyncClient(transport=here)", []),
        ("client: httpx.AsyncClient", []),
        ("from websockets.sync.client import connect\nconnect('x')", [2]),
        ("from websockets.sync.client import connect\nconnect('x', open_timeout=60)", []),
        ("connect('x')", []),
    ],
)
def test_a_call_without_a_limit_is_found(code, lines):
    assert list(unlimited(ast.parse(code))) == lines

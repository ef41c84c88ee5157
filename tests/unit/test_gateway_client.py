"""The JavaScript client: its sizes, its guide, and the copies that Django serves. `make check` compares its types."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "clients" / "javascript"
STATIC = ROOT / "relay" / "static" / "relay"
MODULES = sorted(path.name for pattern in ("*.js", "*.d.ts") for path in PACKAGE.glob(pattern))
SOURCE = (PACKAGE / "gateway-client.js").read_text()
TYPES = (PACKAGE / "gateway-client.d.ts").read_text()
GUIDE = (ROOT / "docs" / "client.md").read_text()
MAX_BYTES = 8_300


def without_comments(source: str) -> str:
    """Take out what any minifier takes out: block comments and indentation. One that renames makes it smaller still."""
    lines = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def members(source: str, opening: str, pattern: str) -> set[str]:
    """The names of one described class or interface: those at its first level."""
    body = source.partition(opening)[2].partition("\n}\n")[0]
    return set(re.findall(pattern, body, re.MULTILINE))


def test_module_is_small_when_compressed():
    assert len(gzip.compress(without_comments(SOURCE).encode(), 9)) < MAX_BYTES


def test_module_imports_nothing_but_its_twin_over_http_where_no_socket_opens():
    assert re.findall(r"^\s*import\b|\bimport\(.*?\)", without_comments(SOURCE), re.MULTILINE) == [
        "import('./gateway-http-socket.js')"
    ]


def test_what_django_serves_is_the_package():
    """`make client` copies each module of the package, and its types."""
    served = {name: (STATIC / name).read_bytes() for name in MODULES if (STATIC / name).exists()}
    assert served == {name: (PACKAGE / name).read_bytes() for name in MODULES}


@pytest.mark.parametrize("name", ["GatewayClient", "Turn"])
def test_members_of_a_class_are_in_the_guide(name):
    described = members(TYPES, f"export class {name} ", r"^  (?:readonly )?(\w+)(?:<.*?>)?[:(]")
    assert len(described) > 5
    assert {member for member in described if f"`{member}" not in GUIDE} - {"constructor", "send"} == set()


def test_kinds_of_event_are_in_the_guide():
    described = members(TYPES, "export interface GatewayEvents {", r"^  (\w+):")
    assert len(described) > 10
    assert all(f"| `{kind}` |" in GUIDE for kind in described)


@pytest.mark.parametrize("name", ["ConnectOptions", "SendOptions"])
def test_options_are_described_in_the_guide(name):
    options = members(TYPES, f"export interface {name} {{", r"^  (\w+)\?:")
    assert options
    assert all(f"| `{option}` |" in GUIDE for option in options)

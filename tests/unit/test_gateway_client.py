"""What can be said of the JavaScript client without running it: its size, its names, its documents."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = (ROOT / "relay" / "static" / "relay" / "gateway-client.js").read_text()
TYPES = (ROOT / "relay" / "static" / "relay" / "gateway-client.d.ts").read_text()
GUIDE = (ROOT / "docs" / "client.md").read_text()
MAX_BYTES = 6_000


def without_comments(source: str) -> str:
    """Take out what any minifier takes out: block comments and indentation. One that renames makes it smaller still."""
    lines = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def members(source: str, opening: str, pattern: str) -> set[str]:
    """The public names of one class or interface: those at its first level that begin without # or _."""
    body = source.partition(opening)[2].partition("\n}\n")[0]
    return {name for name in re.findall(pattern, body, re.MULTILINE) if not name.startswith("_")}


def test_module_is_small_when_compressed():
    assert len(gzip.compress(without_comments(SOURCE).encode(), 9)) < MAX_BYTES


def test_module_imports_nothing():
    assert not re.search(r"^\s*import\b|\bimport\(", without_comments(SOURCE), re.MULTILINE)


def test_types_name_what_the_module_exports():
    exported = set(re.findall(r"^export (?:class|function) (\w+)", SOURCE, re.MULTILINE))
    described = set(re.findall(r"^export (?:class|function) (\w+)", TYPES, re.MULTILINE))
    assert exported == described == {"connect", "newId", "GatewayClient", "GatewayError", "Turn"}


@pytest.mark.parametrize("name", ["GatewayClient", "Turn"])
def test_types_name_the_members_of_a_class(name):
    has = members(SOURCE, f"export class {name} {{", r"^  (?:  this\.|get |async )?(\w+)(?: = |\(| \{)")
    described = members(TYPES, f"export class {name} ", r"^  (?:readonly )?(\w+)(?:<.*?>)?[:(]")
    assert has - {"constructor"} == described - {"constructor"}
    assert {member for member in described if f"`{member}" not in GUIDE} - {"constructor", "send"} == set()


def test_types_name_the_kinds_of_event():
    emitted = set(re.findall(r"#emit\('(\w+)'", SOURCE))
    emitted |= {"user_message", "notice", "error", "final"}  # emitted by their frame's type
    described = members(TYPES, "export interface GatewayEvents {", r"^  (\w+):")
    assert emitted == described
    assert all(f"| `{kind}` |" in GUIDE for kind in described)


@pytest.mark.parametrize("name", ["ConnectOptions", "SendOptions"])
def test_options_are_described_in_the_guide(name):
    options = members(TYPES, f"export interface {name} {{", r"^  (\w+)\?:")
    assert options
    assert all(f"| `{option}` |" in GUIDE for option in options)

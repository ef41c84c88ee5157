"""docs/operations.md lists every log event of the gateway, with its level and logger, and no other."""

import ast
import re

from tests.processes import ROOT

TABLE = ROOT / "docs" / "operations.md"
ERROR_METHODS = {"exception": "ERROR", "error": "ERROR", "critical": "CRITICAL"}
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", **ERROR_METHODS}


def branches(node):
    """The values that an argument may have: one, or the two of a conditional expression."""
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def pairs(event, level):
    """Each format string with its level; where both depend on one condition, branch by branch."""
    events = [text.value for text in branches(event)]
    levels = [name.attr for name in branches(level)]
    return (
        list(zip(events, levels, strict=True)) if len(events) == len(levels) else [(events[0], each) for each in levels]
    )


def call_events(call):
    """The format strings of a call that logs, each with its level; none of any other call."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="logger"), attr="log"):
            return pairs(call.args[1], call.args[0])
        case ast.Attribute(value=ast.Name(id="logger"), attr=method) if method in LEVELS:
            return [(text.value, LEVELS[method]) for text in branches(call.args[0])]
        case ast.Attribute(value=ast.Name(id="outages") | ast.Attribute(attr="_outages"), attr="failed"):
            levels = [keyword.value.attr for keyword in call.keywords if keyword.arg == "level"]
            return [(call.args[0].value, levels[0] if levels else "WARNING")]
        case _:
            return []


def logged():
    """(logger's package, event) of every log call in ``relay/``, with its levels; ``…`` stands for what varies."""
    found = {}
    for path in sorted((ROOT / "relay").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        logger = ".".join(parts[:-1] if len(parts) > 2 else parts)
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                for event, level in call_events(call):
                    found.setdefault((logger, re.sub(r"(?:%[a-z])+", "…", event)), set()).add(level)
    return found


def listed():
    """The rows of the table: (logger's package, event) with levels."""
    section = TABLE.read_text().partition("### Log events\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| ([A-Z, ]+) \| `(.+?)` \| .+ \| .+ \|$", section, re.MULTILINE)
    return {(logger, event): set(levels.split(", ")) for event, levels, logger in rows}


def test_the_table_of_log_events_is_that_of_the_log_calls():
    assert listed() == logged()

"""Renders the chart of ``deploy/helm``: by Helm, where it is installed, else by the few constructs that the chart uses.

Those are values by their path, ``quote``, ``range`` over a mapping and ``if``; any other construct fails.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.processes import ROOT

CHART = ROOT / "deploy" / "helm"
RELEASE = "gateway"
ACTION = re.compile(r"(\s*)\{\{(-?) (.+?) (-?)\}\}(\s*)")


Documents = dict[str, Any]  # by their kind: Helm sorts them in its own order


def render(values: Mapping[str, Any] | None = None) -> Documents:
    """Give the documents that the chart makes of its own values and these."""
    return documents((by_helm if shutil.which("helm") else by_hand)(values or {}))


def documents(text: str) -> Documents:
    """Read YAML in which each kind occurs once."""
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def by_helm(values: Mapping[str, Any]) -> str:
    command = ["helm", "template", RELEASE, str(CHART), "--values", "-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True).stdout


def by_hand(values: Mapping[str, Any]) -> str:
    """Render the template without Helm."""
    values = _merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    pieces = iter(_pieces((CHART / "templates" / "gateway.yaml").read_text()))
    return _rendered(list(pieces), {".Values": values, ".Release": {"Name": RELEASE}})


def _merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {name: _merged(defaults[name], value) for name, value in values.items() if isinstance(value, Mapping)}
    return {**defaults, **values, **nested}


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """Yield texts and actions; a dash takes the blanks on its side away."""
    position = 0
    for found in ACTION.finditer(template):
        before, left, action, right, after = found.groups()
        yield "text", template[position : found.start()] + ("" if left else before)
        yield "action", action
        position = found.end() - (0 if right else len(after))
    yield "text", template[position:]


def _rendered(pieces: list[tuple[str, str]], scope: Mapping[str, Any]) -> str:
    out = ""
    while pieces:
        kind, text = pieces.pop(0)
        if kind == "text":
            out += text
        elif text.startswith(("range ", "if ")):
            block = _block(pieces)
            for inner in _scopes(text, scope):
                out += _rendered(list(block), inner)
        else:
            out += _value(text, scope)
    return out


def _block(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Take the pieces up to the matching ``end``."""
    taken, depth = [], 1
    while True:
        piece = pieces.pop(0)
        depth += (piece[0] == "action") * (piece[1].startswith(("range ", "if ")) - (piece[1] == "end"))
        if not depth:
            return taken
        taken.append(piece)


def _scopes(action: str, scope: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the scope of a block, as often as it is rendered."""
    if action.startswith("if "):
        if _found(action.removeprefix("if "), scope):
            yield scope
        return
    names = re.fullmatch(r"range (\$\w+), (\$\w+) := (\S+)", action)
    assert names, action
    for key, value in sorted(_found(names[3], scope).items()):
        yield {**scope, names[1]: key, names[2]: value}


def _value(action: str, scope: Mapping[str, Any]) -> str:
    path, _, filtered = action.partition(" | ")
    assert filtered in ("", "quote"), action
    value = _found(path, scope)
    return json.dumps(str(value)) if filtered else str(value)


def _found(path: str, scope: Mapping[str, Any]) -> Any:
    root = re.match(r"\.?\$?\w+", path)
    assert root, path
    value = scope[root[0]]
    for name in filter(None, path[root.end() :].split(".")):
        value = value[name]
    return value

"""The examples of docs/agent.md: the fenced blocks that have a name, to be run as their readers would."""

from __future__ import annotations

import re

from tests import processes

EXAMPLES = {
    f"{language} {name}": text
    for language, name, text in re.findall(
        r"^```(\w+) ([\w-]+)\n(.*?)^```", (processes.ROOT / "docs/agent.md").read_text(), re.DOTALL | re.MULTILINE
    )
}


def settings(name: str, **changed: str) -> dict[str, str]:
    """The settings of an example, without their prefix; some have to be changed."""
    lines = [line.removeprefix("GATEWAY__").partition("=") for line in EXAMPLES[f"sh {name}"].splitlines()]
    named = {key: value for key, _, value in lines}
    assert changed.keys() <= named.keys()
    return {**named, **changed}

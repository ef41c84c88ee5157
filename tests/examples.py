"""The examples of the documentation: the fenced blocks that have a name, to be run as their readers would."""

from __future__ import annotations

import re

from tests import processes


def examples_of(page: str) -> dict[str, str]:
    """The examples of a page in ``docs``, by their language and name."""
    text = (processes.ROOT / "docs" / page).read_text()
    found = re.findall(r"^```(\w+) ([\w-]+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return {f"{language} {name}": code for language, name, code in found}


EXAMPLES = examples_of("agent.md")


def settings(name: str, **changed: str) -> dict[str, str]:
    """The settings of an example, without their prefix; some have to be changed."""
    lines = [line.removeprefix("GATEWAY__").partition("=") for line in EXAMPLES[f"sh {name}"].splitlines()]
    named = {key: value for key, _, value in lines}
    assert changed.keys() <= named.keys()
    return {**named, **changed}

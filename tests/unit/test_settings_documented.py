"""The settings stand in three places; they say the same."""

from __future__ import annotations

import re
from pathlib import Path

from relay.conf import PREFIX, conf

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULTS = {PREFIX + setting.name: setting.default for setting in conf.settings()}


def test_env_example_shows_every_setting_with_its_default():
    lines = (ROOT / ".env.example").read_text().splitlines()
    shown = dict(line[1:].split("=", 1) for line in lines if line.startswith("#" + PREFIX))
    assert shown == DEFAULTS


def test_env_example_changes_nothing_when_it_is_copied():
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_table_of_settings_shows_every_setting_with_its_default():
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \| (.+?) \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    shown = {name: "" if default == "*(empty)*" else default.strip("`") for name, default in rows}
    assert shown == DEFAULTS


def test_the_pages_of_settings_have_the_same_sections():
    example = re.split(r"^# --- ([^(\n]+?)(?: \(.*\))? ---$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    page = re.split(r"^## (.+)$", (ROOT / "docs" / "settings.md").read_text(), flags=re.MULTILINE)
    of_example = {title: re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE) for title, text in pairs(example[1:])}
    of_page = {title: re.findall(r"^\| `([A-Z_]+)`", text, re.MULTILINE) for title, text in pairs(page[1:])}
    assert of_page == of_example
    assert list(of_page) == list(of_example)


def pairs(texts: list[str]) -> list[tuple[str, str]]:
    return list(zip(texts[::2], texts[1::2], strict=True))

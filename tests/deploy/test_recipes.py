"""The recipes: each ends with a check, names files and commands that exist, and gives settings that are settings."""

from __future__ import annotations

import re

import pytest
from django.core.management import get_commands

from relay.conf import PREFIX, Conf
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "recipes.md").read_text()
RECIPES = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE))


def blocks(text: str) -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


def test_there_is_a_recipe_for_each_way_to_run_it():
    assert list(RECIPES) == ["systemd", "Docker", "compose", "Kubernetes", "Helm", "nginx", "Caddy", "HAProxy"]


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_ends_with_a_check(name):
    steps, check = RECIPES[name].split("**Check that it works**")
    assert blocks(steps)
    assert blocks(check) or "#through-the-proxy" in check


@pytest.mark.parametrize("name", RECIPES)
def test_files_of_a_recipe_exist(name):
    paths = re.findall(r"(?<![\w/])(?:/opt/gateway/)?(deploy/[\w./*-]+\w)", blocks(RECIPES[name]))
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_commands_of_the_recipes_exist():
    named = set(re.findall(r"(?:manage\.py|^run) (\w+)", blocks(PAGE), re.MULTILINE))
    assert named - {"s"} <= {*get_commands(), "createsuperuser"}
    assert {"doctor", "chat", "createsuperuser"} <= named


def test_settings_of_the_recipes_are_settings():
    known = {f"{PREFIX}{setting.name}" for setting in Conf(dict).settings()}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", PAGE)) <= known

"""A finding of ``manage.py doctor``."""

from __future__ import annotations

import enum

import msgspec


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True):
    """The result of one check; ``advice`` is empty where there is nothing to do."""

    level: Level
    subject: str
    words: str
    advice: str = ""

"""``manage.py asyncapi``: write the description of the sockets."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay.web import asyncapi

PATH = "docs/asyncapi.json"


class Command(BaseCommand):
    """Write ``docs/asyncapi.json`` from the models, or check that it is current."""

    help = "Write docs/asyncapi.json, the description of the sockets, from the models."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:  # Any: as in Django
        path = settings.BASE_DIR / PATH
        text = asyncapi.text()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise CommandError(f"{PATH} is not current. Write it with: python manage.py asyncapi")

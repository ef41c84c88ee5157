"""``manage.py migrate``: Django's, one process at a time."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.migrate import Command as DjangosCommand
from django.db import connections

from relay.conf import conf
from relay.database.migration_lock import migration_lock


class Command(DjangosCommand):
    """Waits until no other process migrates the database; then there is nothing left to do, as a rule."""

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Refuse wrong settings before a model's check opens a database, and so makes one. (Arguments: Django's.)"""
        if any(True for _ in conf.problems()):
            super().check(tags=["relay"])
        super().check(*args, **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. (The arguments are Django's.)"""
        with migration_lock(connections[options["database"]], self._tell):
            super().handle(*args, **options)

    def _tell(self) -> None:
        self.stdout.write("Another process is migrating this database: waiting for it.")

"""``manage.py migrate``: Django's, one process at a time."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.migrate import Command as DjangosCommand
from django.db import connections

from relay.database.migration_lock import migration_lock


class Command(DjangosCommand):
    """Waits until no other process migrates the database; then there is nothing left to do, as a rule."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. (The arguments are Django's.)"""
        with migration_lock(connections[options["database"]], self._tell):
            super().handle(*args, **options)

    def _tell(self) -> None:
        self.stdout.write("Another process is migrating this database: waiting for it.")

"""Django's sessions in the database, for cookies that may hold anything: ``SESSION_ENGINE``."""

from __future__ import annotations

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """Django's own store, for well-formed keys only: a quoted cookie can hold a NUL, at which PostgreSQL raises."""

    def _validate_session_key(self, key: str | None) -> bool:
        return key is not None and len(key) >= 8 and key.isascii() and key.isalnum()

"""Says why the database cannot be used, in words for operators: in the log and in ``doctor``.

They are fixed words: no address, no user's name, nothing of a row.
"""

from __future__ import annotations

from typing import Final

LACKS_MIGRATIONS: Final = "it lacks migrations"
_LOGIN: Final = "it does not accept the user or the password"
_NOT_LISTENING: Final = "no server is listening at its address"
_NO_HOST: Final = "the name of its host is not known here"
_NO_ANSWER: Final = "it does not answer in time"
_NOT_WRITABLE: Final = "its file or folder may not be written to"
# Parts of what SQLite, libpq and psycopg say, in lower case.
_TEXTS: Final = {
    "unable to open database file": "its file cannot be opened: does its folder exist, and may this user write to it?",
    "file is not a database": "its file is not a SQLite database",
    "readonly database": _NOT_WRITABLE,
    "database is locked": "another process has locked it",
    "disk is full": "its disk is full",
    "no space left": "its disk is full",
    "no such table": LACKS_MIGRATIONS,
    'relation "': LACKS_MIGRATIONS,
    "connection refused": _NOT_LISTENING,
    "no such file or directory": _NOT_LISTENING,  # a Unix socket
    "failed to resolve host": _NO_HOST,
    "could not translate host name": _NO_HOST,
    "timeout expired": _NO_ANSWER,
    "timed out": _NO_ANSWER,
    "no route to host": "there is no route to its host",
    "authentication failed": _LOGIN,
    "no password supplied": _LOGIN,
    "no pg_hba.conf entry": "it does not let this user in from here (pg_hba.conf)",
    "too many clients": "it accepts no more connections (max_connections)",
    "connection slots": "it accepts no more connections (max_connections)",
    "starting up": "it is still starting",
    "shutting down": "it is shutting down",
    "read-only transaction": "it accepts no writes: it is a replica, or read-only",
    "certificate verify failed": "its TLS certificate is not trusted here",
    "does not support ssl": "it does not speak TLS",
    "permission denied": "its user lacks a permission",
    "does not exist": "the server has no such database or user",
}


def reason(failure: BaseException) -> str:
    """Say why the database failed; of an unknown failure only its kind."""
    text = str(failure).lower()
    for part, words in _TEXTS.items():
        if part in text:
            return words
    return f"it fails ({type(failure).__name__})"

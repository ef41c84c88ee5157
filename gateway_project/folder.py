"""The folder of a deployment, where ``.env`` lies: the checkout, or with a wheel the current directory."""

from __future__ import annotations

from pathlib import Path

_ABOVE = Path(__file__).resolve().parent.parent

IS_CHECKOUT = (_ABOVE / "manage.py").is_file()
FOLDER = _ABOVE if IS_CHECKOUT else Path.cwd()

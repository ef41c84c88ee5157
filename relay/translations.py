"""Translations of the sentences that clients may show. English is what the code says; ``locale`` has the rest."""

from __future__ import annotations

import functools
import gettext
from collections.abc import Callable
from pathlib import Path
from typing import Final

DOMAIN: Final = "relay"
LOCALE: Final = Path(__file__).parent / "locale"
ENGLISH: Final = "en"

_language: Callable[[], str] = lambda: ENGLISH  # noqa: E731 - until settings can be asked


def languages() -> tuple[str, ...]:
    """Return the codes of the languages there are, English first."""
    return (ENGLISH, *sorted(path.parent.parent.name for path in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")))


def ask_language_of(language: Callable[[], str]) -> None:
    """Let a function say, at each sentence, in which language it is wanted."""
    global _language  # the settings are above this module
    _language = language


def translated(sentence: str) -> str:
    """Return a sentence in the language of the settings; one without a translation comes back as it is."""
    return _catalogue(_language()).gettext(sentence) if sentence else ""


@functools.cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE, [language], fallback=True)

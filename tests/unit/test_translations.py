"""Sentences that clients may show, in English and in other languages."""

from __future__ import annotations

import string

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from relay import exceptions, translations
from relay.exceptions import ClientMessageTooLarge, ParameterInvalid, RelayError, UpstreamError, UpstreamTimeout, size
from relay.protocol import frames

OTHERS = [language for language in translations.languages() if language != translations.ENGLISH]


def subclasses(error=RelayError):
    yield error
    for subclass in error.__subclasses__():
        yield from subclasses(subclass)


SENTENCES = sorted({error.sentence for error in subclasses()})


def catalogue(language):
    with (translations.LOCALE / language / "LC_MESSAGES" / "relay.po").open("rb") as file:
        return read_po(file, locale=language)


def fields(sentence):
    return sorted(name for _, name, _, _ in string.Formatter().parse(sentence) if name)


def test_russian_is_there():
    assert OTHERS == ["ru"]


@pytest.mark.parametrize("language", OTHERS)
def test_each_sentence_is_translated_and_no_other(language):
    assert sorted(message.id for message in catalogue(language) if message.id) == SENTENCES


@pytest.mark.parametrize("language", OTHERS)
def test_translations_have_the_fields_of_the_sentence(language):
    for message in catalogue(language):
        if message.id:
            assert message.string
            assert message.string != message.id
            assert fields(message.string) == fields(message.id)


@pytest.mark.parametrize("language", OTHERS)
def test_compiled_catalogue_is_that_of_the_text(language):
    """``make translations`` writes it."""
    with (translations.LOCALE / language / "LC_MESSAGES" / "relay.mo").open("rb") as file:
        compiled = {message.id: message.string for message in read_mo(file) if message.id}
    assert compiled == {message.id: message.string for message in catalogue(language) if message.id}


@pytest.mark.parametrize(
    ("error", "english", "russian"),
    [
        (exceptions.UpstreamEof(), "The answer was cut off. Try again.", "Ответ прервался. Попробуйте ещё раз."),
        (
            UpstreamTimeout(30.0),
            "The agent stopped responding (30 s). Try again.",
            "Агент перестал отвечать (30 с). Попробуйте ещё раз.",
        ),
        (
            ClientMessageTooLarge(262_144),
            "This message is too long (limit 256 KB).",
            "Сообщение слишком длинное (не более 256 KB).",
        ),
        (ParameterInvalid("x is missing."), "Invalid request: x is missing.", "Некорректный запрос: x is missing."),
        (UpstreamError("out of credit"), "out of credit", "out of credit"),
    ],
)
def test_an_error_speaks_the_language_of_the_settings(settings, error, english, russian):
    assert str(error) == english
    settings.GATEWAY = {**settings.GATEWAY, "LANGUAGE": "ru"}
    assert str(error) == russian
    assert error.code == type(error).code


def test_frames_carry_the_language_of_the_settings(settings):
    settings.GATEWAY = {**settings.GATEWAY, "LANGUAGE": "ru"}
    assert '"content":"Ответ прервался. Попробуйте ещё раз."' in frames.error("t", exceptions.UpstreamEof()).plain


@pytest.mark.parametrize(
    ("number", "text"),
    [(262_144, "256 KB"), (8_388_608, "8 MB"), (1_024, "1 KB"), (1_500, "1,500 bytes"), (1_000, "1,000 bytes")],
)
def test_sizes_are_written_for_people(number, text):
    assert size(number) == text

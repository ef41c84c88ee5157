"""The file ``.env``: settings for the environment. A malformed line stops the start.

``python-dotenv`` parses it (docs/decisions.md says why); this module decides which of its statements are
settings. A line's own text is never repeated: it may be a secret.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from dotenv.parser import Binding, parse_stream

from relay.conf.settings import FILE_SUFFIX, PREFIX, Conf

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_START_OF_LINE: Final = re.compile(r"\s*(?:export\s+)?(\w*)")
_from_file: set[str] = set()
_READ_BEFORE: Final = "DJANGO_SETTINGS_MODULE"  # Django has read it when it reads this file


class EnvFileInvalid(Exception):
    """The file cannot be read as settings; ``problems`` gives the reasons, a sentence each."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(path, problems)
        self.path = path
        self.problems = problems

    def __str__(self) -> str:
        lines = "\n".join(f"{self.path}{problem}" for problem in self.problems)
        return f"The gateway does not start:\n{lines}\n(.env.example explains how the file is written.)"


def load_env_file(path: Path, environment: MutableMapping[str, str]) -> None:
    """Add the file's settings to an environment, which wins over the file. There need not be a file.

    Raises:
        EnvFileInvalid: the file cannot be read, or a line is not understood.
    """
    texts = read_env_file(path)
    module = texts.get(_READ_BEFORE)
    if module is not None and module != environment.get(_READ_BEFORE, module):
        sentence = f" sets {_READ_BEFORE}, which is read before this file: set it in the environment."
        raise EnvFileInvalid(path, [sentence])
    for name, text in texts.items():
        if name not in environment:
            environment[name] = text
            _from_file.add(name)


def without_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment less what a file has added: for a process that reads the file again."""
    return {name: text for name, text in environment.items() if name not in _from_file}


def read_env_file(path: Path) -> dict[str, str]:
    """Read the file's settings; none if there is no file.

    Raises:
        EnvFileInvalid: the file cannot be read, or a line is not understood.
    """
    if not os.path.lexists(path):  # a broken link was meant to lead to settings
        return {}
    try:
        content = path.read_bytes().decode()
    except OSError as exc:
        raise EnvFileInvalid(path, [f" cannot be read: {exc.strerror}."]) from None
    except UnicodeError:
        content = "\0"
    if "\0" in content:  # UTF-16 without its mark looks like this
        raise EnvFileInvalid(path, [" is not a text file in UTF-8: save it as one."])
    return _settings_of(path, content)


def _settings_of(path: Path, content: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for line, binding in _bindings(content):
        problem = _problem(binding, lines)
        if problem is not None:
            problems.append(f", line {line}{_named(binding)}: {problem}")
        elif binding.key is not None:
            lines[binding.key] = line
            texts[binding.key] = binding.value or ""
    if problems:
        raise EnvFileInvalid(path, problems)
    return texts


def _bindings(content: str) -> Iterator[tuple[int, Binding]]:
    """Yield each statement and its first line's number: the parser includes the blank lines before it."""
    for binding in parse_stream(io.StringIO(content, newline="")):
        text = binding.original.string
        blank = text[: len(text) - len(text.lstrip())]
        yield binding.original.line + len(re.findall(r"\r\n|\n|\r", blank)), binding


def _problem(binding: Binding, lines: Mapping[str, int]) -> str | None:
    """Return the problem of a statement, if any; ``lines`` are those of earlier settings."""
    if binding.error:
        return (
            "this line is not valid. Write NAME=value; put a value that contains quotes, or # after a space, in quotes."
        )
    if binding.key is None:
        return None  # a comment, or blank lines
    written = binding.original.string.strip()
    if re.search(r"[\r\n]", written):
        return "a quote is opened and not closed on the same line."
    if binding.value is None or not _NAME.fullmatch(binding.key):
        return "this is not NAME=value; a name has letters, digits and underscores."
    if binding.key in lines:
        return f"this setting is also in line {lines[binding.key]}. Remove one of them."
    if "${" in binding.value and not written.partition("=")[2].lstrip().startswith("'"):
        return "${…} is not replaced here. Write the value itself, in single quotes if it contains these characters."
    return None


def _named(binding: Binding) -> str:
    """Return the setting's name, if it is one: any other word at the line's start may be part of a secret."""
    match = _START_OF_LINE.match(binding.original.string)
    name = match[1] if match is not None else ""
    known = {f"{PREFIX}{setting.name}" for setting in Conf(dict).settings()}
    return f" ({name})" if name.removesuffix(FILE_SUFFIX) in known else ""

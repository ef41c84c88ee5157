"""Parts of the commands' command lines: help with examples, and the number of a port."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import Final

from django.core.management.base import CommandError

from relay import extras
from relay.conf.parsers import workers

MAX_PORT: Final = 65_535


def with_examples(parser: ArgumentParser, examples: str) -> ArgumentParser:
    """Keep the lines of the help as they are, and put examples under it, as commands of the program that was called."""
    parser.epilog = examples.replace("manage.py", parser.prog.rpartition(" ")[0])
    parser.formatter_class = RawDescriptionHelpFormatter
    return parser


def port_number(text: str) -> int:
    """Read the number of a port; 0 takes a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > MAX_PORT:
        raise ArgumentTypeError(f"a port is a number from 0 (any free port) to {MAX_PORT}")
    return int(text)


def check_extra(extra: str) -> None:
    """Refuse a command whose packages are not installed.

    Raises:
        CommandError: it says how to install them.
    """
    if not extras.is_installed(extra):
        raise CommandError(f"The packages for this command are missing: {extras.how_to_install(extra)}")


def worker_count(text: str) -> str:
    """Check the text of a number of workers."""
    parser = workers()
    try:
        parser.read(text)
    except ValueError:
        raise ArgumentTypeError(f"give {parser.expected}") from None
    return text

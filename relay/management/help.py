"""Parts of the commands' command lines: help with examples, and the number of a port."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import Final

MAX_PORT: Final = 65_535


def with_examples(parser: ArgumentParser, examples: str) -> ArgumentParser:
    """Keep the lines of the help as they are, and put examples under it."""
    parser.epilog = examples
    parser.formatter_class = RawDescriptionHelpFormatter
    return parser


def port_number(text: str) -> int:
    """Read the number of a port; 0 takes a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > MAX_PORT:
        raise ArgumentTypeError(f"a port is a number from 0 (any free one) to {MAX_PORT}")
    return int(text)

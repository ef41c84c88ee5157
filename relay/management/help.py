"""How the commands show their help."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter


def with_examples(parser: ArgumentParser, examples: str) -> ArgumentParser:
    """Keep the lines of the help as they are, and put examples under it."""
    parser.epilog = examples
    parser.formatter_class = RawDescriptionHelpFormatter
    return parser

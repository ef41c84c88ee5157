"""The command ``agent-gateway``: a gateway to try, and the commands of ``manage.py`` without a project."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import django
from django.core.management import execute_from_command_line

from gateway_project.run import main as run
from gateway_project.run_ports import Caller
from relay import __version__, extras

SETTINGS = "gateway_project.settings"
DESCRIPTION = """\
Start the demo agent and the gateway on this machine, and print the page to open. If the environment or a file .env in
the current directory names an agent, that agent is used. Transcripts are kept in db.sqlite3 in the current directory.
"""
COMMANDS = """\
commands:
  {program} serve       the gateway, as in production
  {program} doctor      checks whether a gateway with these settings can work
  {program} migrate     prepares the database, before the first start and with each new version
  {program} help        lists all commands
"""


def main() -> int:
    """Take the arguments of this process, and give an exit code. A command of Django's may exit by itself."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    sys.path.append(str(Path.cwd()))  # for functions that settings name; last, so that it hides no installed package
    invoked_as, *arguments = sys.argv
    program = "python -m relay" if Path(invoked_as).name == "__main__.py" else Path(invoked_as).name
    if arguments[:1] in (["--version"], ["version"]):
        print(f"agent-gateway {__version__} (Django {django.get_version()}, Python {platform.python_version()})")
        return 0
    if os.environ["DJANGO_SETTINGS_MODULE"] == SETTINGS and not extras.is_installed("serve"):
        print(f"The server's packages are missing: {extras.how_to_install('serve')}", file=sys.stderr)
        return 1
    if not arguments or arguments[0].startswith("-"):
        return _run(program, arguments)
    execute_from_command_line([program, *arguments])
    return 0


def _run(program: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        epilog=COMMANDS.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", help="port of the page and the gateway (default: PORT, otherwise 8000)")
    parser.add_argument("--agent-port", help="port of the demo agent (default: AGENT_PORT, otherwise 8001)")
    parser.add_argument("--version", action="store_true", help="show the versions and exit")
    options = parser.parse_args(arguments)
    given = {"PORT": options.port, "AGENT_PORT": options.agent_port}
    os.environ.update({name: text for name, text in given.items() if text is not None})
    return run(Caller(start=program, manage=program, has_options=True))

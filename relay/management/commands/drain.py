"""``manage.py drain``: stop a gateway gracefully."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from relay.management.operator import OperatorCommand, add_yes
from relay.management.operator_client import OperatorClient


class Command(OperatorCommand):
    """Ends one process, or all of them, as SIGTERM does."""

    help = """Gracefully stop a gateway process, like SIGTERM: it accepts no new work, lets answers finish
(GATEWAY__DRAIN_SECONDS), disconnects clients one after another, and exits. A process manager may start it again.
Of serve --workers, the parent and all workers stop, whichever of them receives the order.
"""
    examples = """  manage.py drain --url http://10.0.0.7:8000   this process (not through a load balancer)
  manage.py drain --everywhere                 every process on the same store
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the processes to stop."""
        parser.add_argument("--everywhere", action="store_true", help="every process that shares the store")
        add_yes(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Start the drain."""
        which = "every gateway" if options["everywhere"] else f"the gateway at {options['url']}"
        self.confirm(f"Drain and stop {which}?", options)
        client.drain(everywhere=options["everywhere"])
        self.stdout.write("Draining.")

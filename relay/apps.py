"""The Django app."""

from django.apps import AppConfig

from relay.server import reactor

reactor.install()  # before daphne's app does it, with another event loop


class RelayConfig(AppConfig):
    """Registers the system checks."""

    name = "relay"

    def ready(self) -> None:
        """Import what registers itself."""
        from relay import checks  # noqa: F401 - registers

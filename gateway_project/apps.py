"""The gateway as a project of its own: what it does to a process that is all its own, which no other project gets."""

from django.apps import AppConfig

from relay.server import reactor

reactor.install()  # before daphne's app installs another event loop's


class GatewayProjectConfig(AppConfig):
    """Keeps tickets out of the logs of servers, and offers the admin's pages (behind ``GATEWAY__ADMIN``)."""

    name = "gateway_project"

    def ready(self) -> None:
        """Change what belongs to the whole process."""
        from django.contrib import admin

        from relay.admin import register
        from relay.observability.access_logs import hide_query_strings

        register(admin.site)
        hide_query_strings()

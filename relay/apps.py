"""The Django app."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps

from relay.server import reactor

reactor.install()  # before daphne's app installs another event loop's


class RelayConfig(AppConfig):
    """Registers the system checks, and keeps tickets out of the logs of other servers."""

    name = "relay"
    verbose_name = "Gateway"

    def ready(self) -> None:
        """Import the modules of system checks, which register themselves."""
        from django.contrib import admin

        from relay import checks, deploy_checks  # noqa: F401 - they register
        from relay.admin.login import LimitedLoginForm
        from relay.observability.access_logs import hide_query_strings

        admin.site.login_form = LimitedLoginForm
        hide_query_strings()


class GuardedAdminConfig(admin_apps.AdminConfig):
    """Django's admin app with the gateway's site, in the place of ``django.contrib.admin``."""

    default = False  # the app `relay` is the one above
    default_site = "relay.admin.site.GuardedAdminSite"

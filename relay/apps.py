"""The Django app. To install it, or to import any module of it, has no effect on the rest of a project."""

from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin_apps


class RelayConfig(AppConfig):
    """Registers the system checks and, if ``GATEWAY__ADMIN`` is true, the pages of Django's admin."""

    name = "relay"
    verbose_name = "Gateway"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the modules of system checks, which register themselves."""
        from relay.checks import deployment, startup  # noqa: F401 - they register
        from relay.conf import conf

        if apps.is_installed("django.contrib.admin") and conf.without_problems().admin:
            from django.contrib import admin

            from relay.admin import register

            register(admin.site)


class GuardedAdminConfig(admin_apps.AdminConfig):
    """Django's admin app with the gateway's site, instead of ``django.contrib.admin``."""

    default = False  # the app `relay` is the one above
    default_site = "relay.admin.site.GuardedAdminSite"

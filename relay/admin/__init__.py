"""Django's admin: what was said, and what is going on."""

from django.contrib import admin

from relay.admin.live import LiveSessionAdmin
from relay.admin.turns import TurnAdmin

admin.site.enable_nav_sidebar = False  # four entries are not worth the width of a table; Home has them

__all__ = ["LiveSessionAdmin", "TurnAdmin"]

"""Django's admin: ended turns, conversations, and live sessions."""

from django.contrib import admin

from relay.admin.conversations import ConversationAdmin
from relay.admin.live import LiveSessionAdmin
from relay.admin.turns import TurnAdmin

admin.site.enable_nav_sidebar = False  # five entries are not worth the width of a table; Home has them

__all__ = ["ConversationAdmin", "LiveSessionAdmin", "TurnAdmin"]

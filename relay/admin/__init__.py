"""Django's admin: ended turns, conversations, and live sessions."""

from django.contrib.admin import AdminSite

from relay.admin.conversations import ConversationAdmin
from relay.admin.live import LiveSessionAdmin
from relay.admin.turns import TurnAdmin
from relay.models import Conversation, LiveSession, Turn

__all__ = ["register"]


def register(site: AdminSite) -> None:
    """Add the gateway's pages to an admin site, once."""
    for model, pages in ((Conversation, ConversationAdmin), (LiveSession, LiveSessionAdmin), (Turn, TurnAdmin)):
        if not site.is_registered(model):
            site.register(model, pages)

"""``{% load gateway %}{% gateway_chat session_id %}``: a conversation in a page of another project."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from relay.conf import conf

register = template.Library()


@register.simple_tag
def gateway_chat(session_id: str, title: str = "Conversation", height: int = 640) -> SafeString:
    """Show a session's conversation in a frame, whose styles and scripts stay apart from the page's.

    Args:
        title: of the frame, for screen readers.
        height: in pixels of CSS; the width is the place's. Rules for ``.gateway-chat`` may say otherwise.

    Raises:
        ImproperlyConfigured: the chat page is switched off.
    """
    if not (conf.chat_page or settings.DEBUG):
        raise ImproperlyConfigured("{% gateway_chat %} needs the chat page: GATEWAY['CHAT_PAGE'] = True")
    address = f"{reverse('relay:frame')}?{urlencode({'session': session_id})}"
    frame = '<iframe class="gateway-chat" src="{}" title="{}" width="100%" height="{}"></iframe>'
    return format_html(frame, address, title, height)

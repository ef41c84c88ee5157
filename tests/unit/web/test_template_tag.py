"""The chat in a template of another project."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template

from relay.protocol.page_policy import chat_policy


def shown(source="{% gateway_chat session_id %}", session_id="order 7&x"):
    return Template("{% load gateway %}" + source).render(Context({"session_id": session_id}))


def test_it_shows_a_frame_with_the_conversation_at_the_gateways_prefix(settings):
    settings.GATEWAY = {"CHAT_PAGE": True}
    assert shown() == (
        '<iframe class="gateway-chat" src="/api/v1/frame?session=order+7%26x" title="Conversation"'
        ' width="100%" height="640"></iframe>'
    )
    settings.ROOT_URLCONF = "tests.api.embedded_urls"
    framed = shown("{% gateway_chat session_id title=title height=300 %}")
    assert 'src="/assistant/api/v1/frame?session=' in framed
    assert 'height="300"' in framed


def test_without_the_chat_page_it_says_what_to_set(settings):
    settings.GATEWAY = {}
    with pytest.raises(ImproperlyConfigured, match="CHAT_PAGE"):
        shown()


def test_the_policy_of_the_page_lets_it_be_framed_by_its_own_origin_only():
    assert "frame-ancestors 'none'" in chat_policy("/static/", is_framed=False)
    assert "frame-ancestors 'self'" in chat_policy("/static/", is_framed=True)


def test_the_policy_allows_files_of_another_origin_where_the_project_keeps_them_there():
    assert chat_policy("https://cdn.example/shop/", is_framed=False).startswith(
        "default-src 'self' https://cdn.example;"
    )
    assert chat_policy("/static/", is_framed=False).startswith("default-src 'self';")

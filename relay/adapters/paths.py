"""The paths of the adapters. Those of an adapter that is not switched on are as unknown as any other."""

from __future__ import annotations

from typing import Final

from django.urls import re_path

from relay.adapters import ag_ui_views, ai_sdk_views, openai_views
from relay.conf import conf

ROOTS: Final = {"ai-sdk": "/api/v1/ai-sdk/", "ag-ui": "/api/v1/ag-ui", "openai": "/v1/"}

urlpatterns = [
    re_path(r"^api/v1/ai-sdk/chat$", ai_sdk_views.chat),
    re_path(r"^api/v1/ai-sdk/chat/(?P<chat_id>.+)/stream$", ai_sdk_views.resume),
    re_path(r"^api/v1/ai-sdk/chat/(?P<chat_id>.+)/stop$", ai_sdk_views.stop),
    re_path(r"^api/v1/ag-ui$", ag_ui_views.run),
    re_path(r"^v1/chat/completions$", openai_views.chat_completions),
    re_path(r"^v1/models$", openai_views.models),
    re_path(r"^v1/", openai_views.not_found),
]


def is_adapter_path(path: str) -> bool:
    """Does this path belong to an adapter that is switched on? Its view asks the access policy."""
    return any(path.startswith(ROOTS[name]) for name in conf.adapters)

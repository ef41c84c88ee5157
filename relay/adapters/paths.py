"""The paths of the adapters. Those of an adapter that is not switched on are as unknown as any other."""

from __future__ import annotations

from typing import Final

from django.urls import path

from relay.adapters import ag_ui_thread, ag_ui_views, ai_sdk_views, openai_views, project_views
from relay.adapters.entrance import by_method
from relay.adapters.project import ROOT, find
from relay.conf import conf

ROOTS: Final = {"ai-sdk": "/api/v1/ai-sdk/", "ag-ui": "/api/v1/ag-ui", "openai": "/v1/"}

urlpatterns = [
    path("api/v1/ai-sdk/chat", ai_sdk_views.chat),
    path("api/v1/ai-sdk/chat/<path:chat_id>/stream", ai_sdk_views.resume),
    path("api/v1/ai-sdk/chat/<path:chat_id>/stop", ai_sdk_views.stop),
    path("api/v1/ag-ui", by_method(POST=ag_ui_views.run, GET=ag_ui_thread.read)),
    path(f"{ROOT}<path:path>", project_views.answer),
    path("v1/chat/completions", openai_views.chat_completions),
    path("v1/models", openai_views.models),
    path("v1/<path:rest>", openai_views.not_found),
]


def is_adapter_path(path_info: str) -> bool:
    """Does this path belong to an adapter that is switched on? Its view asks the access policy."""
    if path_info.startswith(f"/{ROOT}"):
        return find(path_info.removeprefix(f"/{ROOT}"), conf.adapters) is not None
    return any(path_info.startswith(root) for name, root in ROOTS.items() if name in conf.adapters)

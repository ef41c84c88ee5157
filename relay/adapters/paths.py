"""The paths of the adapters. Those of an adapter that is not switched on are as unknown as any other."""

from __future__ import annotations

from typing import Final

from django.urls import re_path

from relay.adapters import openai_views
from relay.conf import conf

ROOTS: Final = {"openai": "/v1/"}

urlpatterns = [
    re_path(r"^v1/chat/completions$", openai_views.chat_completions),
    re_path(r"^v1/models$", openai_views.models),
    re_path(r"^v1/", openai_views.not_found),
]


def is_adapter_path(path: str) -> bool:
    """Does this path belong to an adapter that is switched on? Its view asks the access policy."""
    return any(path.startswith(ROOTS[name]) for name in conf.adapters if name in ROOTS)

"""HTTP paths of the gateway, for ``include`` under any prefix: ``path("assistant/", include("relay.urls"))``."""

from django.urls import include, path, register_converter

from relay.access.rules import with_rules
from relay.adapters.paths import urlpatterns as adapters
from relay.protocol.client_messages import is_session_id
from relay.web import agent_pass, views
from relay.web.api import api_urls


class SessionIdConverter:
    """Matches a session id in a path; any other text is not found."""

    regex = r"[A-Za-z0-9._:~@-]{1,128}"

    def to_python(self, value: str) -> str:
        if not is_session_id(value):
            raise ValueError(value)
        return value

    def to_url(self, value: str) -> str:  # pragma: no cover - Django requires it; no code reverses these paths
        return value


__all__ = ["app_name", "urlpatterns"]

register_converter(SessionIdConverter, "relay_session_id")
register_converter(agent_pass.AgentPathConverter, "relay_agent_path")

app_name = "relay"
urlpatterns = with_rules(
    [
        path("health", views.health, name="health"),
        path("ready", views.ready, name="ready"),
        path("metrics", views.metrics, name="metrics"),
        path("", include(adapters)),
        path("api/v1/frame", views.chat_frame, name="frame"),
        path("api/v1/", api_urls()),
        path("", views.chat_page, name="chat"),
        path("<relay_agent_path:path>", agent_pass.pass_on, name="agent"),
    ]
)

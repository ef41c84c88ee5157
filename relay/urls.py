"""HTTP paths of the relay."""

from django.urls import include, path, register_converter

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


register_converter(SessionIdConverter, "session_id")
register_converter(agent_pass.AgentPathConverter, "agent_path")

urlpatterns = [
    path("health", views.health, name="health"),
    path("ready", views.ready, name="ready"),
    path("metrics", views.metrics, name="metrics"),
    path("", include(adapters)),
    path("api/v1/", api_urls()),
    path("", views.chat_page, name="chat"),
    path("<agent_path:path>", agent_pass.pass_on),
]

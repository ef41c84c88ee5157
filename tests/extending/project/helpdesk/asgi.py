from channels.routing import URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

django_application = get_asgi_application()  # before the import below, which needs it

from relay import routing  # noqa: E402

application = routing.application(
    http=django_application,
    websocket=URLRouter([path("desk/", URLRouter(routing.websocket_urlpatterns))]),
)

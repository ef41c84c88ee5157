"""The paths of a project that has the gateway under a prefix, and a page of its own."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def own(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the project's own page")


urlpatterns = [path("own/", own), path("assistant/", include("relay.urls"))]

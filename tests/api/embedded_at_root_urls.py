"""The paths of a project that has the gateway at its root."""

from django.urls import include, path

urlpatterns = [path("", include("relay.urls"))]

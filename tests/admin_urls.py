"""The gateway's paths with the admin, as ``GATEWAY__ADMIN`` has them."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("", include("relay.urls")), path("admin/", admin.site.urls)]

"""The shop's paths, and the gateway's at a prefix."""

from django.contrib import admin
from django.urls import include, path

from shop import views

urlpatterns = [
    path("", views.home),
    path("orders/<int:number>/", views.order),
    path("accounts/", include("django.contrib.auth.urls")),
    path("staff/", admin.site.urls),
    path("assistant/", include("relay.urls")),
]
urlpatterns += [path("chat-ticket/", views.chat_ticket)]

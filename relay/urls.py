"""HTTP paths of the relay."""

from django.urls import path

from relay import views

urlpatterns = [
    path("health", views.health, name="health"),
    path("", views.chat_page, name="chat"),
]

"""Logging in and out of the gateway's own pages, with limited attempts."""

from __future__ import annotations

import math
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.core.exceptions import ValidationError
from django.urls import URLPattern, path

from relay.access.rate_limits import take_login
from relay.exceptions import RateLimited, StoreUnavailable
from relay.process import lifecycle

LOGIN_PATH: Final = "/login/"
LOGOUT_PATH: Final = "/logout/"
LOGIN_PATHS: Final = frozenset({LOGIN_PATH, LOGOUT_PATH})


class LimitedAttempts:
    """A login form that looks at no password once there were too many attempts. A mixin of Django's forms."""

    request: Any  # an HttpRequest, or None
    cleaned_data: dict[str, Any]  # any type, by the form's fields

    def clean(self) -> dict[str, Any]:
        """Count the attempt, then check it."""
        address = self.request.META.get("REMOTE_ADDR", "") if self.request is not None else ""
        try:
            async_to_sync(_take_login)(address, self.cleaned_data.get("username", ""))
        except RateLimited as exc:
            seconds = math.ceil(exc.retry_after_seconds)
            raise ValidationError(f"Too many attempts. Try again in {seconds} seconds.", code=exc.code) from exc
        except StoreUnavailable as exc:
            raise ValidationError(
                "Logging in is not possible at the moment. Try again shortly.", code=exc.code
            ) from exc
        cleaned: dict[str, Any] = super().clean()  # type: ignore[misc]  # of the form that it is mixed into
        return cleaned


class LimitedLoginForm(LimitedAttempts, AuthenticationForm):
    """Django's own, for every active user, with limited attempts."""


async def _take_login(address: str, name: str) -> None:
    """Count on the server's event loop: the layer belongs to it."""
    await take_login((await lifecycle.current()).layer.limits, address, name)


def login_urls() -> list[URLPattern]:
    """Return the paths of a login for readers of the chat page."""
    view = LoginView.as_view(
        template_name="relay/login.html",
        authentication_form=LimitedLoginForm,
        next_page="relay:chat",
        redirect_authenticated_user=True,
    )
    return [
        path(LOGIN_PATH.lstrip("/"), view, name="login"),
        path(LOGOUT_PATH.lstrip("/"), LogoutView.as_view(next_page="relay:chat"), name="logout"),
    ]

"""The admin's login form, with limited attempts."""

from __future__ import annotations

from django.contrib.admin.forms import AdminAuthenticationForm

from relay.web.login import LimitedAttempts


class LimitedLoginForm(LimitedAttempts, AdminAuthenticationForm):
    """Django's own, with limited attempts."""

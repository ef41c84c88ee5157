"""The admin's login form, with limited attempts."""

from __future__ import annotations

import math
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from relay.access.rate_limits import take_login
from relay.exceptions import RateLimited, StoreUnavailable
from relay.process import lifecycle


class LimitedLoginForm(AdminAuthenticationForm):
    """Django's own, which looks at no password once there were too many attempts."""

    def clean(self) -> dict[str, Any]:
        """Count the attempt, then check it. (What a form cleans may be anything.)"""
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
        return super().clean()


async def _take_login(address: str, name: str) -> None:
    """Count on the server's event loop: the layer belongs to it."""
    await take_login((await lifecycle.current()).layer.limits, address, name)

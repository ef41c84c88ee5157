"""Django's admin, whose pages a link cannot turn into a stall: no patterns, bounded queries, errors in words.

An operator follows links, and the texts that a query searches are strangers'.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, DataError, OperationalError, ProgrammingError
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import SimpleTemplateResponse

from relay.admin.login import LimitedLoginForm
from relay.admin.start import overview
from relay.conf import conf
from relay.database.connection import limited_queries
from relay.database.failures import LACKS_MIGRATIONS, reason

logger = logging.getLogger(__name__)

QUERY_SECONDS: Final = 5.0  # an operator waits no longer, and the database has other work
# SQLite matches patterns in Python, holding its global lock: a bad one stops the process for seconds, or forever.
PATTERNS: Final = frozenset({"regex", "iregex"})

View = Callable[..., Any]  # Django's types know no narrower one


class NotOffered(SuspiciousOperation):
    """A link asks the admin for what it does not do; the text is for the operator."""


class GuardedAdminSite(admin.AdminSite):
    """Django's own, with every view guarded: those of the gateway, of users and of groups, and the login."""

    index_title = "Overview"
    index_template = "relay/admin/index.html"
    login_form = LimitedLoginForm
    enable_nav_sidebar = False  # five entries are not worth the width of a table; Home has them

    def admin_view(self, view: View, cacheable: bool = False) -> View:  # type: ignore[override]  # any view's type
        """See Django's."""
        return _guarded(super().admin_view(view, cacheable))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:  # as Django's types
        """Link to the chat page, where there is one."""
        return {**super().each_context(request), "site_url": "/" if settings.DEBUG or conf.chat_page else None}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:  # as Django's types
        """Show the gateway's state above the list of pages."""
        return super().index(request, {**overview(request.user), **(extra_context or {})})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """See Django's."""
        response: HttpResponse = _guarded(super().login)(request, extra_context)
        return response


def _guarded(view: View) -> View:
    """Bound the queries of a view, those of its template too, and say in words what could not be done."""

    @wraps(view)
    def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            _refuse_patterns(request)
            with limited_queries(QUERY_SECONDS):
                response: HttpResponse = view(request, *args, **kwargs)
                if isinstance(response, SimpleTemplateResponse):
                    response.render()
                return response
        except NotOffered as exc:
            return _refusal(request, HTTPStatus.BAD_REQUEST, str(exc))
        except (SuspiciousOperation, DataError):
            return _refusal(
                request, HTTPStatus.BAD_REQUEST, "This link requests something that the admin does not support."
            )
        except PermissionDenied:
            words = "You do not have permission for this page. An administrator can grant it under Users."
            return _refusal(request, HTTPStatus.FORBIDDEN, words)
        except Http404:
            return _refusal(request, HTTPStatus.NOT_FOUND, "This page does not exist.")
        except (OperationalError, ProgrammingError) as exc:
            return _refusal(request, HTTPStatus.SERVICE_UNAVAILABLE, _words_of_failure(exc))

    return respond


def _words_of_failure(failure: DatabaseError) -> str:
    """Say what a failing database means for an operator; raise a failure that is a mistake in a query."""
    cause = reason(failure)
    if isinstance(failure, ProgrammingError) and cause != LACKS_MIGRATIONS:
        raise failure
    logger.warning("admin page failed: %s", cause)
    if cause == LACKS_MIGRATIONS:
        return "The database lacks tables. Run on the server: python manage.py migrate"
    return (
        f"The database did not answer within {QUERY_SECONDS:g} seconds, or could not be reached. "
        "Choose a day or a result first, or search for a full name."
    )


def _refuse_patterns(request: HttpRequest) -> None:
    if any(not PATTERNS.isdisjoint(parameter.split(LOOKUP_SEP)) for parameter in request.GET):
        raise NotOffered("The admin does not search by patterns. Search for words, or for a full name.")


def _refusal(request: HttpRequest, status: HTTPStatus, words: str) -> HttpResponse:
    """Show a page that asks the database for nothing."""
    context = {"title": "Request failed", "words": words, "has_permission": False, "is_nav_sidebar_enabled": False}
    return render(request, "admin/relay/refusal.html", context, status=status)

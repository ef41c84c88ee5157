"""Live sessions of all processes, to watch and to act on. To watch and to act are separate permissions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, cast

import msgspec
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth.models import AbstractBaseUser, User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from relay.admin.last_errors import last_errors
from relay.admin.links import live_url, turns_url
from relay.admin.reasons import WORDS
from relay.delivery.sse import operator_events
from relay.delivery.subscription import listed_fields
from relay.delivery.timeouts import run_to_completion, within_store_timeout
from relay.exceptions import RelayError, StoreUnavailable
from relay.layers.values import SessionState
from relay.models import LiveSession
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol.client_messages import is_session_id
from relay.web.json_io import refusal

logger = logging.getLogger(__name__)

MAX_SESSIONS: Final = 500  # on the page; more would not be read
WATCH_SECONDS: Final = 600.0  # then a browser that watches is asked for its login again, without being shown
EVERY_SESSION: Final = "everybody"  # the name under which a notice to every client is recorded
VIEW: Final = "relay.view_livesession"
ACT: Final = "relay.act_on_livesession"

Action = Callable[[Gateway, str], Awaitable[str]]
View = Callable[..., Any]  # a coroutine of a response; Django's types do not know that views may be such


async def _stop(gateway: Gateway, session_id: str) -> str:
    ack = await gateway.layer.cancel(session_id)
    return "There was nothing to stop." if ack.turn_id is None else f"Stopped turn {ack.turn_id}."


async def _clear(gateway: Gateway, session_id: str) -> str:
    count = await gateway.layer.clear_queue(session_id)
    return "Removed 1 queued message." if count == 1 else f"Removed {count} queued messages."


async def _disconnect(gateway: Gateway, session_id: str) -> str:
    await gateway.control.disconnect(session_id)
    return "Disconnected the viewers."


async def _delete(gateway: Gateway, session_id: str) -> str:
    was_there = await gateway.control.delete(session_id)
    return "Deleted the session and its transcripts." if was_there else "There was nothing to delete."


async def _tell(gateway: Gateway, content: str) -> str:
    await gateway.control.notify(content)
    return f"Notice: {content}"


ACTIONS: Final[dict[str, Action]] = {"stop": _stop, "clear": _clear, "disconnect": _disconnect, "delete": _delete}


def operators_only(permission: str) -> Callable[[View], View]:
    """Admit users that are logged in, on the staff, and have the permission; others get 403, in JSON.

    An asynchronous view cannot be wrapped by the admin's own ``admin_view``.
    """

    def wrap(view: View) -> View:
        @wraps(view)
        async def ask(self: LiveSessionAdmin, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            user = await request.auser()
            if not (user.is_active and user.is_staff and await sync_to_async(_has)(user, permission)):
                return JsonResponse({"detail": "Log in as a user with permission to do this."}, status=403)
            try:
                response: HttpResponseBase = await view(self, request, *args, **kwargs)
            except RelayError as exc:
                return refusal(exc)
            return response

        return ask

    return wrap


def _has(user: AbstractBaseUser, permission: str) -> bool:
    return cast(User, user).has_perms({VIEW, permission})


class LiveSessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # it takes none at run time
    """The Live sessions pages. Arguments that are ``Any`` are Django's own."""

    def get_urls(self) -> list[URLPattern]:
        """Return the pages, their data, and the actions; none of the admin's own, which need a table."""
        site = self.admin_site

        def page(view: Any) -> Any:
            return site.admin_view(require_GET(view))

        return [
            path("", page(self.list_page), name="relay_livesession_changelist"),
            path("data", require_GET(self.data), name="relay_livesession_data"),
            path("processes", require_GET(self.processes), name="relay_livesession_processes"),
            path("notice", require_POST(self.notice), name="relay_livesession_notice"),
            path("session/<object_id>/", page(self.session_page), name="relay_livesession_change"),
            path("session/<object_id>/data", require_GET(self.session_data), name="relay_livesession_session"),
            path("session/<object_id>/events", require_GET(self.events), name="relay_livesession_events"),
            path("session/<object_id>/act/<name>", require_POST(self.act), name="relay_livesession_act"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # to act is another permission

    # Pages.

    def list_page(self, request: HttpRequest) -> HttpResponse:
        """Show all sessions; the page fetches them itself."""
        return self._page(request, "change_list", "Live sessions", max_sessions=MAX_SESSIONS)

    def session_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show one session; the page watches its log itself."""
        session_id = _session_id(object_id)
        history = LogEntry.objects.filter(
            content_type__app_label="relay", content_type__model="livesession", object_id=session_id
        ).select_related("user")[:10]
        return self._page(
            request,
            "change_form",
            session_id,
            session_id=session_id,
            quoted_id=quote(session_id),
            endings=WORDS,
            turns_url=turns_url(session_id=session_id),
            history=history,
        )

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        user = cast(User, request.user)
        if not user.has_perm(VIEW):
            raise PermissionDenied
        return TemplateResponse(
            request,
            f"admin/relay/livesession/{template}.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": title,
                "may_act": user.has_perm(ACT),
                **context,
            },
        )

    # Data for the pages.

    @operators_only(VIEW)
    async def data(self, request: HttpRequest) -> HttpResponseBase:
        """List the sessions of all processes, those with work first."""
        gateway = await lifecycle.current()
        page = await within_store_timeout(gateway.layer.busiest(MAX_SESSIONS))
        errors = await sync_to_async(last_errors)()
        sessions = [{**_fields(state), "last_error": errors.get(state.session_id)} for state in page.sessions]
        return JsonResponse({"sessions": sessions, "is_all": page.is_all, "warning": page.warning})

    @operators_only(VIEW)
    async def processes(self, request: HttpRequest) -> HttpResponseBase:
        """List the processes, and what this one finds of the store and the agent."""
        gateway = await lifecycle.current()
        checks = await gateway.readiness.checks()
        found = await within_store_timeout(gateway.control.roll_call.take())
        processes = [{**msgspec.structs.asdict(each.report), "silent_seconds": each.silent_seconds} for each in found]
        return JsonResponse(
            {"processes": processes, "checks": {name: msgspec.structs.asdict(check) for name, check in checks.items()}}
        )

    @operators_only(VIEW)
    async def session_data(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Describe one session; null if there is none."""
        gateway = await lifecycle.current()
        state = await within_store_timeout(gateway.layer.get(_session_id(object_id)))
        return JsonResponse({"session": None if state is None or state.is_empty else _fields(state)})

    @operators_only(VIEW)
    async def events(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Stream the session's log."""
        return operator_events(request, _session_id(object_id), seconds=WATCH_SECONDS)

    # Actions.

    @operators_only(ACT)
    async def act(self, request: HttpRequest, object_id: str, name: str) -> HttpResponseBase:
        """Stop, clear, disconnect or delete, and record the operator, even one that does not wait."""
        session_id, action = _session_id(object_id), ACTIONS.get(name)
        if action is None:
            raise Http404
        flag = DELETION if name == "delete" else CHANGE
        doing = action(await lifecycle.current(), session_id)
        words = await run_to_completion(self._done(request, session_id, flag, f"{name} it", doing))
        return JsonResponse({"words": words})

    @operators_only(ACT)
    async def notice(self, request: HttpRequest) -> HttpResponseBase:
        """Send a notice to every client, and record it with the operator."""
        content = request.POST.get("content", "").strip()
        if not content:
            return JsonResponse({"words": "The notice is empty."}, status=400)
        telling = _tell(await lifecycle.current(), content)
        await run_to_completion(self._done(request, EVERY_SESSION, CHANGE, f"say: {content}", telling))
        return JsonResponse({"words": "Sent to all connected users."})

    async def _done(self, request: HttpRequest, name: str, flag: int, action: str, doing: Awaitable[str]) -> str:
        """Wait until it is done, and record it with the operator; also an action that may or may not have been done."""
        try:
            words = await within_store_timeout(doing)
        except StoreUnavailable:
            words = f"Asked to {action}; the store did not answer, so it may or may not have been done."
            await self._write_down(request, name, flag, words)
            raise
        await self._write_down(request, name, flag, words)
        return words

    async def _write_down(self, request: HttpRequest, name: str, flag: int, words: str) -> None:
        user_id = cast(int, (await request.auser()).pk)
        logger.info("operator %s, session %s: %s", user_id, name, words.partition(":")[0])
        await sync_to_async(LogEntry.objects.log_actions)(
            user_id, [LiveSession(session_id=name)], flag, words, single_object=True
        )


def _session_id(object_id: str) -> str:
    """Read the session's name from the admin's addresses."""
    session_id = unquote(object_id)
    if not is_session_id(session_id):
        raise Http404
    return session_id


def _fields(state: SessionState) -> dict[str, object]:
    """Describe a session to a page."""
    return {**listed_fields(state), "user": state.owner or "", "url": live_url(state.session_id)}

"""Django's handler of HTTP requests, which releases everything when it is cancelled, and breaks a broken stream off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import IO, Any

from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from relay.delivery.http_stream import StreamBroken
from relay.tasks import cancel_and_wait

Handler = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application; hence ``Any``."""


class _Owned:
    """The tasks that Django starts for one request, and the file that holds its body."""

    def __init__(self) -> None:
        self.server_task = asyncio.current_task()
        self.tasks: list[asyncio.Task[Any]] = []
        self.body: IO[bytes] | None = None

    async def release(self) -> None:
        await cancel_and_wait(*self.tasks)
        if self.body is not None:
            self.body.close()


_owned: ContextVar[_Owned] = ContextVar("owned by a request")


class OwningHandler(ASGIHandler):
    """Owns the tasks of a request, and its body.

    A server cancels requests that outlive it, such as an event stream that its client does not read. Django's handler
    would leave the body's file open and, before 6.1, both of its tasks behind: one runs on, the other fails unseen.

    A response that breaks off is left without its last message: a server then closes the connection before the end of
    the body, which the client sees. (An exception would do the same, with a traceback in the log.)
    """

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI's
        owned = _Owned()
        _owned.set(owned)
        try:
            await super().handle(scope, receive, send)
        except asyncio.CancelledError:
            await owned.release()
            raise
        except StreamBroken:
            await owned.release()
            await request_finished.asend(sender=type(self))  # as Django does for a request whose client left

    async def read_body(self, receive: Any) -> IO[bytes]:
        body: IO[bytes] = await super().read_body(receive)
        _owned.get().body = body
        return body

    async def listen_for_disconnect(self, receive: Any) -> None:
        _own_task()
        await super().listen_for_disconnect(receive)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        _own_task()
        response: HttpResponseBase = await super().run_get_response(request)
        return response


def _own_task() -> None:
    task = asyncio.current_task()
    owned = _owned.get()
    if task is not None and task is not owned.server_task:  # since Django 6.1 that one makes the response
        owned.tasks.append(task)


def break_off(handler: Handler) -> Handler:
    """Let another handler of HTTP break a broken stream off, too."""

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(StreamBroken):
            await handler(scope, receive, send)

    return handle

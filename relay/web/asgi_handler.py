"""Django's handler of HTTP requests, which releases everything when it is cancelled, and breaks a broken stream off."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import IO, Any

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from relay.delivery.http_stream import StreamBroken
from relay.tasks import cancel_and_wait


class _Owned:
    """The tasks of one request, and the file that holds its body."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.body: IO[bytes] | None = None

    async def release(self) -> None:
        await cancel_and_wait(*self.tasks)
        if self.body is not None:
            self.body.close()


_owned: ContextVar[_Owned] = ContextVar("owned by a request")


class OwningHandler(ASGIHandler):
    """Owns the two tasks of a request, and its body.

    A server cancels requests that outlive it, such as an event stream that its client does not read. Django's handler
    would leave both tasks behind (one runs on, the other fails unseen) and the body's file open.

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
    if task is not None:
        _owned.get().tasks.append(task)

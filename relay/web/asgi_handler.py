"""Django's handler of HTTP requests, which ends its tasks when it is cancelled."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

_tasks: ContextVar[list[asyncio.Task[Any]]] = ContextVar("tasks of a request")


class OwningHandler(ASGIHandler):
    """Owns the two tasks of a request.

    A server cancels requests that outlive it, such as an event stream that its client does not read. Django's handler
    would leave both tasks behind: one runs on, the other fails without anybody who sees it.
    """

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI's
        tasks: list[asyncio.Task[Any]] = []
        _tasks.set(tasks)
        try:
            await super().handle(scope, receive, send)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

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
        _tasks.get().append(task)

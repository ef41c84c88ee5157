"""The gateway's paths in another project, without the gateway's middleware: each view asks for the key itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.urls import URLPattern, URLResolver, get_resolver

from relay.adapters.paths import ROOTS
from tests.http_clients import HttpClient

OPEN = {"/health", "/ready", "/"}  # all that anybody may have: probes, and the chat page where it is switched on
ADAPTERS = tuple(ROOTS.values())
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def paths(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    for pattern in patterns:
        text = str(pattern.pattern).removeprefix("^").removesuffix("$").replace("(?P<chat_id>.+)", "c")
        path = before + text.replace("<session_id:session_id>", "s")
        if isinstance(pattern, URLResolver):
            yield from paths(pattern.url_patterns, path)
        else:
            assert "<" not in path, f"say what stands in the place of the parameter of {path}"
            yield path


ALL = sorted(set(paths(get_resolver("relay.urls").url_patterns)))


@pytest.fixture
def embedded(application: Any, settings: Any) -> HttpClient:
    """The paths at the root of a project that has no middleware at all."""
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = "relay.urls"
    return HttpClient(ASGIHandler())


def test_every_path_is_in_the_table():
    assert {"/metrics", "/api/v1/openapi.json", "/api/v1/sessions/s/events", "/api/v1/drain"} | OPEN <= set(ALL)


@pytest.mark.parametrize("path", ALL)
async def test_without_the_key_nobody_gets_what_is_not_open_to_all(embedded, configure, path):
    configure(CHAT_PAGE="true")
    for method in METHODS:
        for key in (None, "wrong"):
            status = (await embedded.request(method, path, key=key)).status
            is_absent = path in OPEN or path == "/api/v1/" or path.startswith(ADAPTERS)  # which are not switched on
            refusals = {404, 405} if is_absent else {401, 405}
            assert status in refusals or (path in OPEN and method in ("GET", "HEAD") and status == 200), (
                method,
                status,
            )


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/openapi.json", "/api/v1/sessions"])
async def test_with_the_key_they_answer(embedded, path):
    assert (await embedded.get(path)).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/openapi.json"])
async def test_what_a_setting_opens_is_open(embedded, configure, settings, path):
    configure(METRICS_OPEN="true")
    settings.DEBUG = True
    assert (await embedded.get(path, key=None)).status == 200


async def test_the_chat_page_is_there_where_it_is_switched_on_only(embedded, configure):
    assert (await embedded.get("/", key=None)).status == 404
    configure(CHAT_PAGE="true")
    assert (await embedded.get("/", key=None)).status == 200

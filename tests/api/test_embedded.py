"""The gateway's paths in another project: nothing is more open there than in the gateway's own, at no prefix."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.db import connection
from django.http import HttpResponse
from django.urls import URLPattern, URLResolver, path

from relay.access.rules import Rule, rule_of, views_of, with_rules
from relay.process import lifecycle
from relay.routing import application as make_application
from relay.routing import websocket_urlpatterns
from relay.urls import urlpatterns
from relay.web.ninja_api import make_api
from tests.clients import CommunicatorClient
from tests.http_clients import Answer, HttpClient

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
MESSAGES = [{"id": "m", "role": "user", "content": "Hi"}]
BODY = {"id": "s", "threadId": "s", "runId": "r", "messages": MESSAGES, "session_id": "s", "content": "Hi"}
DJANGOS_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

RULES = {
    "/health": Rule.PROBE,
    "/ready": Rule.PROBE,
    "/metrics": Rule.SCRAPER,
    "/": Rule.PAGE,
    "/s": Rule.POLICY,  # a path of the agent
    "/v1/chat/completions": Rule.POLICY,
    "/v1/models": Rule.POLICY,
    "/v1/s": Rule.POLICY,
    "/api/v1/ag-ui": Rule.POLICY,
    "/api/v1/ai-sdk/chat": Rule.POLICY,
    "/api/v1/ai-sdk/chat/s/stop": Rule.POLICY,
    "/api/v1/ai-sdk/chat/s/stream": Rule.POLICY,
    "/api/v1/frame": Rule.PAGE,
    "/api/v1/": Rule.KEY,
    "/api/v1/openapi.json": Rule.DESCRIPTION,
    "/api/v1/drain": Rule.OPERATION,
    "/api/v1/me/sessions": Rule.OPERATION,
    "/api/v1/notice": Rule.OPERATION,
    "/api/v1/sessions": Rule.OPERATION,
    "/api/v1/adapters/s": Rule.POLICY,
    "/api/v1/sessions/s": Rule.OPERATION,
    "/api/v1/sessions/s/cancel": Rule.OPERATION,
    "/api/v1/sessions/s/events": Rule.OPERATION,
    "/api/v1/sessions/s/frames": Rule.OPERATION,
    "/api/v1/sessions/s/messages": Rule.OPERATION,
    "/api/v1/sessions/s/pending": Rule.OPERATION,
    "/api/v1/sessions/s/queue": Rule.OPERATION,
    "/api/v1/sessions/s/turns": Rule.OPERATION,
    "/api/v1/sessions/s/viewers": Rule.OPERATION,
    "/api/v1/tickets": Rule.OPERATION,
}
SOCKETS = ("/ws/s/", "/ws/s", "/api/v1/ws/s/", "/api/v1/ai-sdk/ws", "/api/v1/ag-ui/ws", "/ws/", "/x")


def rules(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[tuple[str, Rule | None]]:
    for pattern in patterns:
        text = before + re.sub(r"<\w+:\w+>", "s", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from rules(pattern.url_patterns, text)
        else:
            yield text, rule_of(pattern.callback)


# Rules.


def test_every_path_has_the_rule_that_the_table_gives():
    assert dict(rules(urlpatterns)) == RULES


def test_no_view_runs_in_a_transaction_of_its_request(monkeypatch):
    """Django refuses to call an asynchronous view in one."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    for pattern in views_of(urlpatterns):
        assert BaseHandler().make_view_atomic(pattern.callback) is pattern.callback


def test_a_view_without_a_rule_cannot_be_among_the_paths():
    with pytest.raises(ImproperlyConfigured, match="'new'"):
        with_rules([path("new", lambda request: HttpResponse("open"))])


def test_an_operation_without_a_rule_cannot_be_among_the_paths():
    api = make_api()

    @api.get("/new", auth=None)
    async def read_new(request: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="read_new"):
        _ = api.urls


# Nothing is more open.


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A socket of the project's own."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data)


@dataclass
class Project:
    """A project with the gateway, and the gateway's own, at the same settings."""

    own: Any
    other: Any
    prefix: str
    use: Callable[[bool], None]

    async def status(self, method: str, path: str, *, is_own: bool, **options: Any) -> int:
        self.use(is_own)
        client = HttpClient(self.own if is_own else self.other)
        target = path if is_own else f"{self.prefix}{path}"
        async with client.open(method, target, **{"key": None, **options}) as (answer, _):  # a body may be endless
            return answer.status

    async def is_accepted(self, path: str, *, is_own: bool, **options: Any) -> bool:
        target = path if is_own else f"{self.prefix}{path}"
        async with CommunicatorClient(self.own if is_own else self.other, target, **options) as client:
            return client.is_accepted


HOSTS = {
    "at the root, without middleware": ("tests.api.embedded_at_root_urls", "", []),
    "at a prefix, without middleware": ("tests.api.embedded_urls", "/assistant", []),
    "at a prefix, with Django's middleware": ("tests.api.embedded_urls", "/assistant", DJANGOS_MIDDLEWARE),
}
SWITCHES = {
    "as it is": {},
    "with everything switched on": {
        "WS_AUTH": "ticket",
        "CHAT_PAGE": "true",
        "ADAPTERS": "ai-sdk,ag-ui,openai",
        "AGENT_PASS": "GET POST /s",
        "METRICS_OPEN": "true",
    },
}


@pytest.fixture(params=HOSTS.values(), ids=HOSTS)
def project(request: pytest.FixtureRequest, application: Any, settings: Any) -> Project:
    urls, prefix, middleware = request.param
    own = settings.ROOT_URLCONF, settings.MIDDLEWARE

    def use(is_own: bool) -> None:
        urlconf = own[0] if is_own else urls
        if urlconf != settings.ROOT_URLCONF:  # a change costs: Django then reads all paths again
            settings.ROOT_URLCONF = urlconf

    settings.MIDDLEWARE = middleware
    gateway = URLRouter(websocket_urlpatterns)
    at_prefix = [path("ws/own/", Echo.as_asgi()), path("assistant/", gateway)]
    other = make_application(http=ASGIHandler(), websocket=URLRouter(at_prefix) if prefix else gateway)
    settings.MIDDLEWARE = own[1]
    return Project(application, other, prefix, use)


@pytest.fixture(params=SWITCHES.values(), ids=SWITCHES)
def switched(request: pytest.FixtureRequest, configure: Callable[..., None]) -> None:
    configure(**request.param)


@pytest.mark.usefixtures("switched")
async def test_no_path_is_more_open_than_in_the_gateways_own_project(project):
    async def statuses(requests: Iterable[tuple[str, str, str | None]], *, is_own: bool) -> dict[Any, int]:
        return {
            (method, where, key): await project.status(method, where, is_own=is_own, key=key, body=BODY)
            for method, where, key in requests
        }

    answers = await statuses(itertools.product(METHODS, RULES, (None, "wrong")), is_own=False)
    given = {request: status for request, status in answers.items() if status not in (401, 403, 404, 405)}
    assert given
    assert given == await statuses(given, is_own=True)
    assert await (await lifecycle.current()).layer.get("s") is None


@pytest.mark.usefixtures("switched")
async def test_with_the_key_each_path_answers_as_in_the_gateways_own_project(project):
    own, other = [
        {where: await project.status("GET", where, is_own=is_own, key="test-internal-key") for where in RULES}
        for is_own in (True, False)
    ]
    assert other == own


@pytest.mark.usefixtures("switched")
async def test_under_a_foreign_host_only_probes_and_metrics_answer(project, settings):
    settings.ALLOWED_HOSTS = ["test"]
    for where, rule in RULES.items():
        for key in (None, "test-internal-key"):
            options = {"key": key, "headers": {"Host": "evil.example"}}
            status = await project.status("GET", where, is_own=False, **options)
            assert status >= 400 or rule in (Rule.PROBE, Rule.SCRAPER), (where, status)


@pytest.mark.parametrize("policy", ["open", "ticket", "session"])
@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"test")],
        [(b"host", b"evil.example")],
        [],
        [(b"host", b"test"), (b"origin", b"http://test")],
        [(b"host", b"test"), (b"origin", b"https://evil.example")],
        [(b"host", b"test"), (b"x-internal-auth", b"test-internal-key")],
    ],
    ids=lambda headers: " ".join(value.decode() for _, value in headers) or "none",
)
@pytest.mark.django_db(transaction=True)
async def test_no_socket_is_more_open_than_in_the_gateways_own_project(project, configure, settings, policy, headers):
    settings.ALLOWED_HOSTS = ["test"]
    configure(WS_AUTH=policy, ADAPTERS="ai-sdk,ag-ui")
    for where in SOCKETS:
        accepted = [await project.is_accepted(where, is_own=is_own, headers=headers) for is_own in (True, False)]
        assert accepted[0] == accepted[1], where


async def test_a_path_with_two_slashes_leads_to_no_socket(project):
    for where in (f"/{project.prefix}/ws/s/", f"{project.prefix}//ws/s/"):
        async with CommunicatorClient(project.other, where) as client:
            assert not client.is_accepted


@pytest.mark.django_db
async def test_a_project_that_caches_its_pages_caches_no_answer_that_needs_a_credential(
    application, settings, configure
):
    configure(WS_AUTH="ticket", CHAT_PAGE="true", ADAPTERS="ai-sdk,ag-ui,openai", AGENT_PASS="GET /s")
    cache = "django.middleware.cache.{}CacheMiddleware"
    settings.MIDDLEWARE = [cache.format("Update"), *DJANGOS_MIDDLEWARE, cache.format("FetchFrom")]
    http = HttpClient(make_application(http=ASGIHandler()))

    async def answered(where: str, **options: Any) -> Answer:
        async with http.open("GET", where, **options) as (answer, _):  # a body may be endless
            return answer

    with_key = {where: (await answered(where)).status for where in RULES}
    assert [with_key[where] for where in ("/metrics", "/api/v1/sessions", "/api/v1/openapi.json")] == [200] * 3
    for where, rule in RULES.items():
        if rule not in (Rule.PAGE, Rule.PROBE):
            assert (await answered(where, key=None)).status >= 400, where
    assert (await answered("/health")).headers["cache-control"] == "no-store"


# The project's own.


@pytest.mark.django_db
async def test_a_project_that_requires_a_login_for_every_view_requires_it_for_the_page_only(
    application, settings, configure
):
    configure(WS_AUTH="ticket", CHAT_PAGE="true", ADAPTERS="ai-sdk,ag-ui,openai", AGENT_PASS="GET /s")
    settings.MIDDLEWARE = [*DJANGOS_MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    http = HttpClient(make_application(http=ASGIHandler()))
    statuses = {where: (await http.get(where, key=None)).status for where in RULES}
    assert [where for where, status in statuses.items() if status == 302] == ["/", "/api/v1/frame"]
    assert [where for where, status in statuses.items() if status == 200] == ["/health", "/ready"]


@pytest.mark.django_db  # Channels looks after connections around each message, if the thread has any
async def test_the_projects_own_pages_and_sockets_are_its_own(project):
    if project.prefix:
        project.use(False)
        answer = await HttpClient(project.other).get("/own/", key=None)
        assert (answer.status, answer.body) == (200, b"the project's own page")
        async with CommunicatorClient(project.other, "/ws/own/") as client:
            await client.send_text("hello")
            assert await client.text() == "hello"


async def test_the_description_names_paths_with_their_prefix(project):
    project.use(False)
    described = (await HttpClient(project.other).get(f"{project.prefix}/api/v1/openapi.json")).json()
    assert f"{project.prefix}/api/v1/sessions/{{session_id}}/messages" in described["paths"]


async def test_what_debug_opens_is_open(project, settings):
    settings.DEBUG = True
    assert await project.status("GET", "/api/v1/openapi.json", is_own=False) == 200
    assert await project.status("GET", "/", is_own=False) == 200


def test_a_wrong_setting_stops_the_start_of_another_project(settings):
    settings.GATEWAY = {"MAX_QUEUE": "many"}
    with pytest.raises(ImproperlyConfigured, match="GATEWAY__MAX_QUEUE"):
        make_application()

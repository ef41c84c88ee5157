"""An agent by ``relay_agent``: alone, as a route of FastAPI, mounted in Starlette, and as a view of Django."""

import asyncio
import os
from contextlib import aclosing

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path
from fastapi import FastAPI
from relay_agent import AgentError, agent
from starlette.applications import Starlette
from starlette.routing import Mount


async def work():
    print("work started", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("work cancelled", flush=True)


async def fail(message, session):
    yield "Half"
    raise AgentError("The model is asleep.")


async def bug(message, session):
    yield "Half"
    raise RuntimeError("a secret detail")


async def no_event(message, session):
    yield ["a", "list"]


async def no_json(message, session):
    yield {"type": "odd", "value": object()}


async def wait(message, session):
    yield "Waiting"
    await asyncio.create_task(work())


async def go_on(message, session):
    try:
        yield "Waiting"
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        for number in range(1_000):
            yield str(number)
    finally:
        print("went on and ended", flush=True)


async def last_event(message, session):
    yield {"type": "assistant_message", "token": "Cut", "is_final": True, "finish_reason": "length"}


async def hello(message, session):
    yield f"{session.session_id} "
    yield {"type": "tool_call", "call_id": "1", "tool_name": "look_up", "arguments": {"city": "Paris"}}
    yield {"type": "tool_result", "call_id": "1", "result": message["content"]}
    yield "größer\u2028\r\n\ud83d 🙂"


answers = {each.__name__: each for each in (fail, bug, no_event, no_json, wait, go_on, last_event, hello)}


async def any_of_them(message, session):
    async with aclosing(answers[message["content"]](message, session)) as items:
        async for item in items:
            yield item


answer = agent("old-key", os.environ["AGENT_KEY"], keep_alive_seconds=0.05)(any_of_them)
kept = agent(os.environ["AGENT_KEY"], keep_alive_seconds=0.05, keep_seconds=60)(any_of_them)


settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="-", MIDDLEWARE=[
    "django.middleware.csrf.CsrfViewMiddleware", "django.middleware.common.CommonMiddleware",
])  # fmt: skip
urlpatterns = [path("agent", answer.django), path("kept", kept.django), path("kept/<turn_id>", kept.django)]

fastapi = FastAPI()
fastapi.add_route("/agent", answer, methods=["POST"])

app = Starlette(
    routes=[
        Mount("/fastapi", app=fastapi),
        Mount("/django", app=get_asgi_application()),
        Mount("/kept", app=kept),
        Mount("/starlette", routes=[Mount("/agent", app=answer)]),
        Mount("/", app=answer),
    ]
)

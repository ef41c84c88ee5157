"""The messages of a thread: what TanStack AI's `hydrate` reads."""

from __future__ import annotations

import asyncio

import pytest

from relay.process import lifecycle
from tests.api import test_ai_sdk_socket as ai_sdk
from tests.api.adapters import opened, read
from tests.api.test_ag_ui_adapter import PATH, SCRIPT, asked
from tests.scripted_agent import Event, Final, Stall, Token, Wait


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS="ag-ui")


async def thread(http, query="", thread_id="s", **options):
    answer = await http.get(f"{PATH}?threadId={thread_id}{query}", **options)
    assert answer.status == 200, answer.body
    return answer.json()


def shown(page):
    """The words of each message."""
    return [
        (message["role"], "".join(part["content"] for part in message["parts"] if part["type"] == "text"))
        for message in page["messages"]
    ]


async def test_thread_that_does_not_exist_is_empty_and_stays_so(http):
    empty = {"messages": [], "activeRun": None, "interrupts": None, "page": {"truncated": False}}
    assert await thread(http) == empty
    assert await (await lifecycle.current()).layer.get("s") is None


async def test_ended_runs_are_messages_whoever_started_them(http, plain, agent):
    agent.script = SCRIPT
    await read(http, "POST", PATH, body=asked("one"))
    async with plain() as browser:
        await browser.ask("two")
    agent.script = [Token("b"), Event({"type": "error", "content": "no quota"})]
    await read(http, "POST", PATH, body=asked("three", "r3"))
    page = await thread(http)
    assert shown(page) == [
        ("user", "one"),
        ("assistant", "a b"),
        ("user", "two"),
        ("assistant", "a b"),
        ("user", "three"),
        ("assistant", "b"),
    ]
    assert [part["type"] for part in page["messages"][1]["parts"]] == ["thinking", "text", "tool-call", "text"]
    assert (page["activeRun"], page["page"]) == (None, {"truncated": False})
    assert len({message["id"] for message in page["messages"]}) == 6


async def test_pages_follow_each_other_without_a_hole(http, agent):
    agent.script = [Token("a"), Final()]
    for number in range(5):
        await read(http, "POST", PATH, body=asked(f"m{number}", f"r{number}"))
    pages, query = [], ""
    while query is not None:
        page = await thread(http, f"&limit=4{query}")
        pages.insert(0, [words for role, words in shown(page) if role == "user"])
        query = f"&before={page['page']['cursor']}" if page["page"]["truncated"] else None
    assert pages == [["m0"], ["m1", "m2"], ["m3", "m4"]]
    assert len(shown(await thread(http, "&limit=1"))) == 2  # a turn is given whole
    assert len(shown(await thread(http, "&limit=999999999"))) == 10


async def test_run_in_flight_is_named_by_its_client_and_found_by_that_name(http, agent):
    agent.script = [Token("a"), Final()]
    await read(http, "POST", PATH, body=asked("before", "r0"))
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Token("b"), Final()]
    async with opened(http, "POST", PATH, body=asked("now")) as reader:
        await reader.event()
        page = await thread(http)
        assert (shown(page)[-1], page["activeRun"]) == (("user", "now"), {"runId": "r1"})
        assert (await thread(http, "&before=zzz"))["activeRun"] is None
        gate.until.set()
        await reader.rest()
    page = await thread(http)
    assert (shown(page)[-2:], page["activeRun"]) == ([("user", "now"), ("assistant", "ab")], None)


@pytest.mark.parametrize("claimed", [None, "r0", 7, ""])
async def test_run_of_another_front_end_is_named_by_its_turn(http, v1, agent, claimed):
    agent.script = [Token("a"), Final()]
    await read(http, "POST", PATH, body=asked(run_id="r0", threadId="another"))
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await browser.say("now", **({} if claimed is None else {"run_id": claimed}))
        turn_id = (await browser.frame_of("assistant_message"))["turn_id"]
        assert (await thread(http))["activeRun"] == {"runId": turn_id}
        async with opened(http, "GET", f"{PATH}?runId={turn_id}") as joined:
            assert await joined.event() == {"type": "RUN_STARTED", "threadId": "s", "runId": turn_id}


async def test_run_in_flight_whose_message_is_gone_has_an_answer_to_replace(http, v1, agent, configure):
    """Else the client would replace the answer before it when it joins the run."""
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(40)), Stall()]
    async with v1() as browser:
        await browser.say("now")
        while not (frame := await browser.frame()).get("token", frame.get("content", "")).endswith("39 "):
            pass
        page = await thread(http)
    assert page["messages"] == [{"id": frame["turn_id"], "role": "assistant", "parts": []}]
    assert page["activeRun"] == {"runId": frame["turn_id"]}


async def test_turn_that_ends_while_its_thread_is_read_is_given_once(http, agent, monkeypatch):
    agent.script = [Token("a"), gate := Wait(asyncio.Event()), Final()]
    history = (await lifecycle.current()).history
    page_of = history.page

    async def page_after_its_end(*args):
        gate.until.set()
        await reader.rest()
        return await page_of(*args)

    monkeypatch.setattr(history, "page", page_after_its_end)
    async with opened(http, "POST", PATH, body=asked("now")) as reader:
        await reader.event()
        page = await thread(http)
    assert (shown(page), page["activeRun"]) == ([("user", "now"), ("assistant", "a")], {"runId": "r1"})


QUESTION = {"type": "tool_call", "call_id": "q", "tool_name": "approve", "requires_approval": True}
CALL = {"type": "tool_call", "call_id": "c", "tool_name": "pay", "arguments": {}}
ABOUT_CALL = {**QUESTION, "arguments": {"message": "Pay?"}, "tool_call": CALL}


@pytest.mark.parametrize("events", [[QUESTION], [CALL, ABOUT_CALL]], ids=["alone", "about a call"])
async def test_open_questions_are_the_interrupts_with_which_the_run_has_ended(http, agent, configure, events):
    configure(FORWARD_TYPES="hitl_decision")
    agent.script = [Token("a"), *map(Event, events), Final("interrupt")]
    _, live = await read(http, "POST", PATH, body=asked())
    page = await thread(http)
    interrupts = page["interrupts"]
    assert (page["activeRun"], interrupts["runId"]) == (None, page["messages"][-1]["id"])
    for interrupt in interrupts["pending"]:
        assert interrupt.pop("expiresAt").endswith("Z")
    assert interrupts["pending"] == live.events[-1]["outcome"]["interrupts"]
    assert (await thread(http, "&before=zzz"))["interrupts"] is None
    agent.script = [Token("b"), Final()]
    resume = [{"interruptId": "q", "status": "resolved", "payload": {"approved": True}}]
    await read(http, "POST", PATH, body=asked(run_id="r2", resume=resume))
    assert (await thread(http))["interrupts"] is None


async def test_questions_that_no_client_can_answer_here_do_not_keep_it_from_sending(http, agent):
    agent.script = [Token("a"), Event(QUESTION), Final("interrupt")]
    await read(http, "POST", PATH, body=asked())
    assert (await thread(http))["interrupts"] is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?threadId=", "Invalid request: threadId is missing."),
        (f"?threadId={'x' * 200}", "Invalid request: threadId must be at most"),
        ("?threadId=s&limit=0", "Invalid request: limit must be a number from 1."),
        ("?threadId=s&limit=-1", "Invalid request: limit must be a number from 1."),
        ("?threadId=s&limit=%D9%A3", "Invalid request: limit must be a number from 1."),
        ("?threadId=s&limit=1000000000", "Invalid request: limit must be a number from 1."),
        ("?threadId=s&before=%00", "Invalid request: before must be a page's cursor."),
    ],
)
async def test_bad_request_is_refused_in_words(http, query, words):
    answer = await http.get(f"{PATH}{query}")
    assert (answer.status, answer.json()["message"].startswith(words)) == (400, True)


async def test_policy_is_asked_for_the_thread_and_a_ticket_is_used_up(http, configure, agent):
    configure(WS_AUTH="ticket")
    agent.script = [Token("a"), Final()]
    await read(http, "POST", PATH, body=asked())
    answer = await http.get(f"{PATH}?threadId=s", key=None)
    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
    for session_id, statuses in (("another", (401, 401)), ("s", (200, 401))):
        ticket = (await http.post("/api/v1/tickets", {"session_id": session_id, "subject": "ann"})).json()["ticket"]
        for status in statuses:
            answer = await http.get(f"{PATH}?threadId=s", key=None, headers={"Authorization": f"Bearer {ticket}"})
            assert answer.status == status


async def test_thread_of_another_subject_is_refused(http, configure, agent):
    configure(WS_AUTH=f"{ai_sdk.__name__}.NamedPolicy")
    agent.script = [Token("a"), Stall()]
    bearer = {"Authorization": "Bearer ann"}
    async with opened(http, "POST", PATH, body=asked(), key=None, headers=bearer) as reader:
        await reader.event()
        assert (await thread(http, key=None, headers=bearer))["activeRun"] == {"runId": "r1"}
        for query in ("", "&before=x"):
            answer = await http.get(f"{PATH}?threadId=s{query}", key=None, headers={"Authorization": "Bearer bob"})
            assert (answer.status, answer.json()["message"]) == (403, "This conversation belongs to another user.")
    assert len((await thread(http))["messages"]) == 1  # a service


async def test_rate_counts_readings(http, configure):
    configure(WS_AUTH=f"{ai_sdk.__name__}.NamedPolicy", RATE_LIMIT="1")
    bearer = {"Authorization": "Bearer ann"}
    assert (await thread(http, key=None, headers=bearer))["messages"] == []
    answer = await http.get(f"{PATH}?threadId=s", key=None, headers=bearer)
    assert (answer.status, answer.json()["code"]) == (429, "rate_limited")


async def test_page_of_another_origin_is_refused(http, configure):
    configure(ALLOWED_ORIGINS="https://chat.example", WS_AUTH=f"{ai_sdk.__name__}.NamedPolicy")
    headers = {"Authorization": "Bearer ann", "Origin": "https://evil.example"}
    assert (await http.get(f"{PATH}?threadId=s", key=None, headers=headers)).status == 403

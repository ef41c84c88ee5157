"""AG-UI over a session: one run, from its start or behind any event of it."""

from __future__ import annotations

import pytest

from relay.process import lifecycle
from tests.api.adapters import opened, read
from tests.scripted_agent import Event, Final, Stall, Token

PATH = "/api/v1/ag-ui"
CALL = {"type": "tool_call", "call_id": "c", "tool_name": "t", "arguments": {"q": 1}}
SCRIPT = [Event({"type": "reasoning", "token": "hm"}), Token("a "), Event(CALL), Token("b"), Final()]


def asked(words="Hi", run_id="r1", **more):
    messages = [{"id": "u1", "role": "user", "content": words}]
    empty = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": "s", "runId": run_id, "messages": messages, **empty, **more}


def types(events):
    return [event["type"] for event in events]


@pytest.fixture(autouse=True)
def _switched_on(configure):
    configure(ADAPTERS="ag-ui")


async def test_run_is_streamed_and_ends_after_its_last_event(http, agent):
    agent.script = SCRIPT
    answer, body = await read(http, "POST", PATH, body=asked())
    assert (answer.status, answer.headers["content-type"], body.is_whole) == (200, "text/event-stream", True)
    assert body.events[0] == {"type": "RUN_STARTED", "threadId": "s", "runId": "r1"}
    assert body.events[-1]["outcome"] == {"type": "success"}
    assert len(set(body.ids)) == len(body.events)


async def test_same_run_goes_on_behind_each_of_its_events(http, agent):
    agent.script = SCRIPT
    _, whole = await read(http, "POST", PATH, body=asked())
    for seen, last_event_id in enumerate(whole.ids, start=1):
        _, rest = await read(http, "POST", PATH, body=asked(), headers={"Last-Event-ID": last_event_id})
        assert (rest.events, rest.ids, rest.is_whole) == (whole.events[seen:], whole.ids[seen:], True)
    assert len(agent.requests) == 1


async def test_run_in_flight_goes_on_behind_the_cursor(http, agent):
    agent.script = [Token("a "), Token("b"), Stall()]
    async with opened(http, "POST", PATH, body=asked()) as reader:
        seen = [await reader.event() for _ in range(3)]
        headers = {"Last-Event-ID": reader.ids[-1]}
        async with opened(http, "POST", PATH, body=asked(), headers=headers) as second:
            assert types(seen) == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"]
            assert (await second.event())["delta"] == "b"
            await (await lifecycle.current()).layer.cancel("s")
            rest = await second.rest()
    assert (types(rest.events), rest.events[-1]["outcome"]) == (
        ["TEXT_MESSAGE_END", "RUN_FINISHED"],
        {"type": "cancelled"},
    )


async def test_cursor_of_another_log_is_refused_and_a_malformed_one_too(http, agent):
    agent.script = SCRIPT
    answer = await http.post(PATH, asked(), headers={"Last-Event-ID": f"{'0' * 32}:3"})
    assert (answer.status, answer.json()["code"]) == (409, "answer_gone")
    answer = await http.post(PATH, asked(), headers={"Last-Event-ID": "x"})
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert agent.requests == []


async def test_cursor_beyond_the_runs_end_breaks_off_because_an_end_without_events_would_look_like_an_answer(
    http, agent
):
    agent.script = SCRIPT
    _, one = await read(http, "POST", PATH, body=asked())
    epoch, _, last = one.ids[-1].partition(":")
    for cursor, is_whole in ((one.ids[-1], True), (f"{epoch}:{int(last) + 1}", False)):
        _, body = await read(http, "POST", PATH, body=asked(), headers={"Last-Event-ID": cursor})
        assert (body.events, body.is_whole) == ([], is_whole)


async def test_trimmed_run_is_given_whole_to_a_new_client_and_never_with_a_hole(http, agent, configure):
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(40)), Final()]
    wanted = "".join(f"{number} " for number in range(40))
    _, live = await read(http, "POST", PATH, body=asked())
    _, again = await read(http, "POST", PATH, body=asked())
    assert "".join(event.get("delta", "") for event in again.events) == wanted
    assert len(set(again.ids)) == len(again.events)
    behind = await http.post(PATH, asked(), headers={"Last-Event-ID": live.ids[3]})
    assert (behind.status, behind.json()["code"], len(agent.requests)) == (409, "answer_gone", 1)


async def test_run_in_flight_of_which_frames_are_gone_breaks_off_behind_a_cursor(http, agent, configure):
    configure(BUFFER_SIZE="16")
    agent.script = [*(Token(f"{number} ") for number in range(40)), Stall()]
    async with opened(http, "POST", PATH, body=asked()) as reader:
        while not (await reader.event()).get("delta", "").endswith("39 "):
            pass
        headers = {"Last-Event-ID": reader.ids[0]}
        _, behind = await read(http, "POST", PATH, body=asked(), headers=headers)
    assert (behind.events, behind.is_whole) == ([], False)


async def test_error_is_the_runs_end(http, agent):
    agent.script = [Token("a"), Event({"type": "error", "content": "no quota"})]
    _, body = await read(http, "POST", PATH, body=asked())
    assert body.events[-1] == {"type": "RUN_ERROR", "message": "no quota", "code": "upstream_error"}
    assert body.is_whole


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "Invalid JSON message"),
        ({**asked(), "threadId": ""}, 400, "Invalid request: threadId is missing."),
        ({**asked(), "runId": None}, 400, "Invalid request: runId is missing."),
        (asked("x" * 2_000), 413, "This message is too long (limit 1 KB)."),
        (asked(state={"x": "y" * 2_000}), 413, "This message is too long (limit 1 KB)."),
    ],
)
async def test_bad_body_is_refused_in_words(http, agent, configure, body, status, words):
    configure(MAX_MESSAGE_BYTES="1024", MAX_EVENT_BYTES="1024")
    answer = await http.post(PATH, body)
    assert (answer.status, answer.json()["message"].startswith(words), agent.requests) == (status, True, [])


async def test_the_policy_decides(http, configure):
    configure(WS_AUTH="ticket")
    answer = await http.post(PATH, asked(), key=None)
    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")


# A run that is joined by its id alone.


async def test_run_is_joined_from_its_start_or_behind_an_event(http, agent):
    agent.script = SCRIPT
    _, whole = await read(http, "POST", PATH, body=asked())
    for query in ("runId=r1", "offset=-1&runId=r1"):
        _, joined = await read(http, "GET", f"{PATH}?{query}")
        assert (joined.events, joined.ids, joined.is_whole) == (whole.events, whole.ids, True)
    for query, header in ((f"offset={whole.ids[3]}", ""), ("offset=-1", whole.ids[3]), ("offset=x", whole.ids[3])):
        _, joined = await read(http, "GET", f"{PATH}?runId=r1&{query}", headers={"Last-Event-ID": header})
        assert joined.events == whole.events[4:]
    assert len(agent.requests) == 1


async def test_run_in_flight_and_one_that_waits_are_joined(http, agent):
    agent.script = [Token("a"), Stall()]
    async with (
        opened(http, "POST", PATH, body=asked()) as first,
        opened(http, "POST", PATH, body=asked("next", "r 2")),
        opened(http, "GET", f"{PATH}?runId=r1") as one,
        opened(http, "GET", f"{PATH}?runId=r%202") as two,
    ):
        assert await first.event() == await one.event()
        await (await lifecycle.current()).layer.cancel("s")
        assert (await one.rest()).events[-1]["outcome"] == {"type": "cancelled"}
        assert (await two.event())["runId"] == "r 2"
        await (await lifecycle.current()).layer.cancel("s")
        assert (await two.rest()).is_whole


async def test_run_that_is_not_known_or_not_kept_is_said_to_be_so(http, agent):
    agent.script = SCRIPT
    await read(http, "POST", PATH, body=asked(run_id="None"))
    for query in ("", "?runId=", "?runId=unknown"):
        answer = await http.get(f"{PATH}{query}")
        assert (answer.status, answer.json()["code"]) == (404, "run_unknown")
    await read(http, "POST", PATH, body=asked())
    await (await lifecycle.current()).layer.delete("s")
    answer = await http.get(f"{PATH}?runId=r1")
    assert (answer.status, answer.json()["code"]) == (409, "answer_gone")


async def test_policy_is_asked_for_the_runs_session(http, agent, configure):
    configure(WS_AUTH="ticket")
    agent.script = SCRIPT
    await read(http, "POST", PATH, body=asked(run_id="None"))
    await read(http, "POST", PATH, body=asked())
    for session_id, status in (("other", 401), ("s", 200)):
        ticket = (await http.post("/api/v1/tickets", {"session_id": session_id, "subject": "ann"})).json()["ticket"]
        answer = await http.get(f"{PATH}?runId=r1", key=None, headers={"Authorization": f"Bearer {ticket}"})
        assert answer.status == status


async def test_other_methods_are_not_allowed(http):
    answer = await http.delete(PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "POST, GET")

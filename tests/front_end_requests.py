"""What other front ends send: one message of a session, over HTTP or as the first frame of a socket."""

from __future__ import annotations

from typing import Any, NamedTuple

ADAPTERS = "ai-sdk,ag-ui,openai"
CHAT_SOCKET = "/api/v1/ai-sdk/ws"
RUN_SOCKET = "/api/v1/ag-ui/ws"


class Request(NamedTuple):
    method: str
    path: str
    body: Any
    headers: dict[str, str]


def ai_sdk(session_id: str, words: str = "Hi") -> Request:
    messages = [{"id": session_id, "role": "user", "parts": [{"type": "text", "text": words}]}]
    return Request("POST", "/api/v1/ai-sdk/chat", {"id": session_id, "messages": messages}, {})


def chat_in_flight(session_id: str) -> Request:
    return Request("GET", f"/api/v1/ai-sdk/chat/{session_id}/stream", None, {})


def ag_ui(session_id: str, words: str = "Hi", cursor: str | None = None) -> Request:
    messages = [{"id": "m", "role": "user", "content": words}]
    body = {"threadId": session_id, "runId": session_id, "messages": messages}
    return Request("POST", "/api/v1/ag-ui", body, {"Last-Event-ID": cursor} if cursor else {})


def joined_run(session_id: str, cursor: str | None = None) -> Request:
    return Request("GET", f"/api/v1/ag-ui?runId={session_id}&offset={cursor or -1}", None, {})


def openai(session_id: str, words: str = "Hi", *, stream: bool = True) -> Request:
    body = {"stream": stream, "messages": [{"role": "user", "content": words}]}
    return Request("POST", "/v1/chat/completions", body, {"X-Session-Id": session_id, "Idempotency-Key": session_id})


ASKING = {"ai-sdk": ai_sdk, "ag-ui": ag_ui, "openai": openai}
"""Of each adapter, how its client starts a turn over HTTP; asked again, it gives the same turn."""

WHOLE = {"ai-sdk": b"data: [DONE]\n\n", "ag-ui": b'"outcome":{"type":"success"}}\n\n', "openai": b"data: [DONE]\n\n"}
"""Of each adapter, how the body of an answer ends that has succeeded."""


def send_chat(session_id: str, words: str = "Hi", **more: Any) -> dict[str, Any]:
    """The frame of the AI SDK on a shared socket."""
    fields = {"requestId": session_id, "trigger": "submit-message", "headers": {}, "body": {}}
    return {"type": "send", **fields, **ai_sdk(session_id, words).body, **more}


def resume_chat(session_id: str, cursor: str | None = None) -> dict[str, Any]:
    more = {"lastSequence": int(cursor)} if cursor else {}
    return {"type": "resume", "requestId": session_id, "id": session_id, "headers": {}, "body": {}, **more}


def send_run(session_id: str, words: str = "Hi", **more: Any) -> dict[str, Any]:
    """The frame of AG-UI on a shared socket."""
    return {"state": {}, "tools": [], "context": [], **ag_ui(session_id, words).body, **more}


def replay_path(session_id: str, cursor: str | None = None) -> str:
    """The address at which AG-UI's client comes back over a socket; it sends no frame."""
    return f"{RUN_SOCKET}?runId={session_id}&offset={cursor or -1}"

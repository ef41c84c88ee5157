"""The request headers that a page of another origin may send: those that the gateway reads, and a few others. Pure."""

from __future__ import annotations

from typing import Final

INTERNAL_KEY: Final = "X-Internal-Auth"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
LAST_EVENT_ID: Final = "Last-Event-ID"
REQUEST_ID: Final = "X-Request-ID"
TRACEPARENT: Final = "traceparent"

# Not read, but sent by browsers' tracing and event-stream libraries; a preflight that lacks one refuses the request.
TRACESTATE: Final = "tracestate"
CACHE_CONTROL: Final = "Cache-Control"

FROM_PAGES: Final = tuple(
    name.lower()
    for name in (INTERNAL_KEY, IDEMPOTENCY_KEY, LAST_EVENT_ID, REQUEST_ID, TRACEPARENT, TRACESTATE, CACHE_CONTROL)
)

# Sent by the libraries of other front ends: AG-UI's and TanStack's, Open WebUI's and OpenAI's own.
FROM_ADAPTERS: Final = (
    "x-run-id",
    "x-session-id",
    "x-openwebui-chat-id",
    "x-openwebui-task",
    "x-openwebui-user-message-id",
    *(
        f"x-stainless-{name}"
        for name in (
            "arch",
            "helper-method",
            "lang",
            "os",
            "package-version",
            "retry-count",
            "runtime",
            "runtime-version",
            "timeout",
        )
    ),
)
# Read by them from the answer.
TO_ADAPTERS: Final = ("x-resumable-stream-id", "x-should-retry", "x-vercel-ai-ui-message-stream")


def is_length(text: str | None) -> bool:
    """Is this a valid Content-Length, or none? Since 6.1 Django reads any other as 0."""
    return (text or "0").isdecimal()

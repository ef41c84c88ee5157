"""Every metric, declared once. Names and units by Prometheus' conventions; no label has unbounded values.

docs/operations.md says what each means, and which must stay 0.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

from relay.observability.histogram import LoopHistogram

# ``_created`` series: a third of a scrape, of no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it so

_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_TURNS: Final = (0, 1, 2, 4, 8, 16, 32)

# The process.

BUILD: Final = Info("gateway_build", "The version, and what keeps the sessions")
DRAINING: Final = Gauge("gateway_draining", "1 while the process takes nothing new because it is about to end")
READY: Final = Gauge("gateway_ready", "1 if a check of /ready was passed when it was last made", ["check"])
LOOP_LAG: Final = Histogram(
    "gateway_event_loop_lag_seconds", "How much too late the event loop calls a timer", buckets=_SHORT
)
LOG_LINES_DROPPED: Final = Counter(
    "gateway_log_lines_dropped_total", "Lines of the log that were lost because standard error did not take them"
)
LOG_LINES_REPEATED: Final = Counter(
    "gateway_log_lines_repeated_total", "Warnings that were not written because the same came too often"
)

# Clients.

SOCKETS: Final = Gauge("gateway_sockets", "Open WebSockets", ["dialect"])
SOCKET_CHATS: Final = Gauge("gateway_socket_chats", "Chats that are being answered on sockets which they share")
EVENT_STREAMS: Final = Gauge("gateway_event_streams", "Open event streams")
DISCONNECTS: Final = Counter("gateway_disconnects_total", "Clients that the gateway closed or refused", ["code"])
SLOW_VIEWERS: Final = Counter("gateway_slow_viewers_total", "Viewers that fell behind, by what was done", ["action"])
RESUMES: Final = Counter("gateway_resumes_total", "gateway.v1 viewers that took up position in a log", ["result"])
DISORDER: Final = Counter("gateway_log_disorder_total", "Frames that a viewer got out of order", ["kind"])

# Messages and their queues.

MESSAGES: Final = Counter("gateway_messages_total", "Messages of clients, by what became of them", ["result"])
RATE_LIMITED: Final = Counter("gateway_rate_limited_total", "Refusals of what came too often", ["what"])
QUEUE_DEPTH: Final = Histogram(
    "gateway_queue_depth_turns", "Queued turns before a message when it was accepted", buckets=_TURNS
)
QUEUE_WAIT: Final = Histogram(
    "gateway_queue_wait_seconds", "From a message's acceptance to its turn's start", buckets=_LONG
)

# Turns.

TURNS_RUNNING: Final = Gauge("gateway_turns_running", "Turns that run here")
TURNS: Final = Counter("gateway_turns_total", "Turns ended here, by how", ["reason"])
TURN_DURATION: Final = Histogram("gateway_turn_duration_seconds", "From a turn's start to its end", buckets=_LONG)
FIRST_TOKEN: Final = Histogram(
    "gateway_turn_first_token_seconds", "From a turn's start to its first token in the log", buckets=_LONG
)
TOKEN_INTERVAL: Final = LoopHistogram(
    "gateway_turn_token_interval_seconds", "Between one append of tokens and the next in a turn", buckets=_SHORT
)
TOKENS: Final = Counter("gateway_tokens_total", "Tokens of ended turns")
USAGE_TOKENS: Final = Counter(
    "gateway_usage_tokens_total", "Tokens of models, as the agent reports them for ended turns", ["kind"]
)
USAGE_INPUT: Final = USAGE_TOKENS.labels("input")
USAGE_OUTPUT: Final = USAGE_TOKENS.labels("output")
TURNS_ABANDONED: Final = Counter(
    "gateway_turns_abandoned_total", "Turns of workers that died, ended here in their place"
)
LEASES_LOST: Final = Counter("gateway_leases_lost_total", "Turns that another worker took over from this one")

# The agent.

UPSTREAM_REQUESTS: Final = Counter(
    "gateway_upstream_requests_total", "Requests to the agent, by HTTP status or why there is none", ["status"]
)
EVENTS_SKIPPED: Final = Counter(
    "gateway_upstream_events_skipped_total", "Events of the agent that were not passed on", ["cause"]
)
EVENTS_LATE: Final = Counter("gateway_upstream_events_late_total", "Events of the agent after its final one")

# The store. The memory layer has none.

STORE_CALLS: Final = LoopHistogram(
    "gateway_store_call_duration_seconds", "From a call to its reply, repetitions included", "call", buckets=_SHORT
)
STORE_ERRORS: Final = Counter("gateway_store_call_errors_total", "Calls without a good reply", ["error"])
STORE_REPEATS: Final = Counter("gateway_store_calls_repeated_total", "Calls sent again after an outage")
PUBSUB_LOST: Final = Counter("gateway_pubsub_connections_lost_total", "Breaks of the line that announcements come on")
PUBSUB_GAPS: Final = Counter(
    "gateway_pubsub_gaps_total", "Holes in what was announced, filled from the log", ["found_by"]
)
PUBSUB_DUPLICATES: Final = Counter(
    "gateway_pubsub_duplicates_total", "Announcements of frames that were known already, dropped"
)
FOREIGN: Final = Counter(
    "gateway_pubsub_foreign_total", "Messages on our channels that are not of this deployment, ignored", ["found_by"]
)

# Transcripts.

TRANSCRIPTS_WRITTEN: Final = Counter("gateway_transcripts_written_total", "Ended turns written into the database")
TRANSCRIPTS_DROPPED: Final = Counter(
    "gateway_transcripts_dropped_total", "Ended turns that the database did not take", ["cause"]
)

# Webhooks.

WEBHOOKS: Final = Counter("gateway_webhooks_total", "Attempts to send webhooks, and webhooks given up", ["result"])

# These exist from the start: Prometheus cannot see that a counter which appears has risen, and a sum of none is none.
_FROM_THE_START: Final[dict[Counter | Gauge, str]] = {
    SOCKETS: "plain gateway.v1 ai-sdk",
    DISCONNECTS: (
        "server_restart idle rate_limited store_unavailable too_slow session_deleted unauthorized forbidden kicked"
    ),
    SLOW_VIEWERS: "snapshot closed cut",
    RESUMES: "new recovered gap",
    DISORDER: "hole duplicate",
    MESSAGES: "accepted duplicate queue_full session_busy rate_limited store_unavailable internal",
    RATE_LIMITED: ("session_messages address_messages session_sockets address_sockets address_connects inbox login"),
    TURNS: (
        "answered cancelled upstream_error upstream_unavailable upstream_timeout upstream_eof upstream_protocol"
        " turn_timeout interrupted shutting_down buffer_lost internal"
    ),
    UPSTREAM_REQUESTS: "200 refused tls broken",
    EVENTS_SKIPPED: "malformed reserved",
    STORE_ERRORS: "unavailable refused",
    PUBSUB_GAPS: "offset comparison",
    FOREIGN: "epoch format",
    TRANSCRIPTS_DROPPED: "full failed",
    WEBHOOKS: "delivered failed dropped expired lost",
}
for metric, values in _FROM_THE_START.items():
    for value in values.split():
        metric.labels(value)

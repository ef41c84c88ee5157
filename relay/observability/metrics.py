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

BUILD: Final = Info("gateway_build", "The version, and the layer that keeps the sessions")
DRAINING: Final = Gauge("gateway_draining", "1 while the process accepts no new work because it is shutting down")
READY: Final = Gauge("gateway_ready", "1 if a check of /ready passed when it last ran", ["check"])
LOOP_LAG: Final = Histogram("gateway_event_loop_lag_seconds", "Delay of a timer in the event loop", buckets=_SHORT)
LOG_LINES_DROPPED: Final = Counter(
    "gateway_log_lines_dropped_total", "Log lines lost because standard error did not accept them"
)
LOG_LINES_REPEATED: Final = Counter(
    "gateway_log_lines_repeated_total", "Warnings not written because they were repeated too often"
)

# Clients.

SOCKETS: Final = Gauge("gateway_sockets", "Open WebSockets", ["dialect"])
SOCKET_CHATS: Final = Gauge("gateway_socket_chats", "Chats being answered on shared sockets")
EVENT_STREAMS: Final = Gauge("gateway_event_streams", "Open event streams")
DISCONNECTS: Final = Counter("gateway_disconnects_total", "Connections that the gateway closed or refused", ["code"])
SLOW_VIEWERS: Final = Counter("gateway_slow_viewers_total", "Viewers that fell behind, by action", ["action"])
RESUMES: Final = Counter("gateway_resumes_total", "gateway.v1 viewers that connected to a log", ["result"])
DISORDER: Final = Counter("gateway_log_disorder_total", "Frames that a viewer missed or got twice", ["kind"])

# Messages and their queues.

MESSAGES: Final = Counter("gateway_messages_total", "Messages of clients, by result", ["result"])
RATE_LIMITED: Final = Counter("gateway_rate_limited_total", "Refusals by a rate or connection limit", ["what"])
QUEUE_DEPTH: Final = LoopHistogram(
    "gateway_queue_depth_turns", "Queued turns ahead of a message when it was accepted", buckets=_TURNS
)
QUEUE_WAIT: Final = LoopHistogram(
    "gateway_queue_wait_seconds", "Time from the acceptance of a message to the start of its turn", buckets=_LONG
)

# Turns.

TURNS_RUNNING: Final = Gauge("gateway_turns_running", "Turns running in this process")
TURNS: Final = Counter("gateway_turns_total", "Turns ended by this process, by result", ["reason"])
TURN_DURATION: Final = LoopHistogram(
    "gateway_turn_duration_seconds", "Time from the start of a turn to its end", buckets=_LONG
)
FIRST_TOKEN: Final = LoopHistogram(
    "gateway_turn_first_token_seconds", "Time from the start of a turn to its first token in the log", buckets=_LONG
)
TOKEN_INTERVAL: Final = LoopHistogram(
    "gateway_turn_token_interval_seconds", "Time between one append of tokens and the next in a turn", buckets=_SHORT
)
TOKENS: Final = Counter("gateway_tokens_total", "Tokens of ended turns")
USAGE_TOKENS: Final = Counter(
    "gateway_usage_tokens_total", "Model tokens of ended turns, as reported by the agent", ["kind"]
)
USAGE_INPUT: Final = USAGE_TOKENS.labels("input")
USAGE_OUTPUT: Final = USAGE_TOKENS.labels("output")
TURNS_ABANDONED: Final = Counter("gateway_turns_abandoned_total", "Turns of dead workers, ended by this process")
TURNS_HANDED_OVER: Final = Counter("gateway_turns_handed_over_total", "Turns handed over to another process")
LEASES_LOST: Final = Counter("gateway_leases_lost_total", "Turns taken over from this process by another worker")

# The agent.

RESUME_RESULTS: Final = ("resumed", "gone", "gave_up", "lost", "cancelled")
UPSTREAM_REQUESTS: Final = Counter(
    "gateway_upstream_requests_total", "Requests to the agent, by HTTP status or kind of failure", ["status"]
)
EVENTS_SKIPPED: Final = Counter(
    "gateway_upstream_events_skipped_total", "Events of the agent that were not passed on", ["cause"]
)
UPSTREAM_RESUMES: Final = Counter(
    "gateway_upstream_resumes_total",
    "Answers that lost the connection to their agent, by result",
    ["protocol", "result"],
)
UPSTREAM_DETACHED: Final = Histogram(
    "gateway_upstream_detached_seconds",
    "Time from a broken connection to the agent until the next one, or until the end of the answer",
    buckets=_LONG,
)
EVENTS_LATE: Final = Counter("gateway_upstream_events_late_total", "Events of the agent after its final one")

# The store. The memory layer has none.

STORE_CALLS: Final = LoopHistogram(
    "gateway_store_call_duration_seconds", "Time from a call to its reply, including retries", "call", buckets=_SHORT
)
STORE_ERRORS: Final = Counter("gateway_store_call_errors_total", "Failed store calls", ["error"])
STORE_REPEATS: Final = Counter("gateway_store_calls_repeated_total", "Store calls sent again after an outage")
PUBSUB_LOST: Final = Counter("gateway_pubsub_connections_lost_total", "Lost connections that carried announcements")
PUBSUB_GAPS: Final = Counter(
    "gateway_pubsub_gaps_total", "Lost announcements, replaced by reading the log", ["found_by"]
)
PUBSUB_DUPLICATES: Final = Counter(
    "gateway_pubsub_duplicates_total", "Announcements dropped because their frames were already known"
)
FOREIGN: Final = Counter(
    "gateway_pubsub_foreign_total", "Messages from other deployments on this one's channels, ignored", ["found_by"]
)

# Transcripts.

TRANSCRIPTS_WRITTEN: Final = Counter("gateway_transcripts_written_total", "Ended turns written to the database")
TRANSCRIPTS_DROPPED: Final = Counter(
    "gateway_transcripts_dropped_total", "Ended turns that the database did not accept", ["cause"]
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
for value in RESUME_RESULTS:
    UPSTREAM_RESUMES.labels("agent", value)

"""Traces over the wire: what a collector gets by OTLP, and that a gateway whose collector is gone works as well."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SHOWN = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector:
    """Takes traces as an OpenTelemetry collector does."""

    def __init__(self):
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                collector._took.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object):
                pass

        self._took = queue.SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    async def next(self):
        """Wait for the next delivery, of one span. Returns it, where it was sent to, and the body."""
        path, body = await asyncio.to_thread(self._took.get, timeout=LIMIT_SECONDS)
        [resource] = ExportTraceServiceRequest.FromString(body).resource_spans
        [scope] = resource.scope_spans
        [span] = scope.spans
        return span, path, body

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def gateway(agent, endpoint, delay_milliseconds):
    env = {
        "GATEWAY__INTERNAL_API_KEY": processes.KEY,
        "GATEWAY__AGENT_URL": agent.http_url,
        "GATEWAY__TRANSCRIPTS": "false",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_SCHEDULE_DELAY": str(delay_milliseconds),
        "OTEL_EXPORTER_OTLP_TIMEOUT": "600",  # seconds: who waits for the collector is seen to
    }
    return processes.Process(processes.SERVERS["serve"], **env)


async def a_turn(service, content):
    async with SocketClient(f"{service.ws_url}/ws/s/", [V1], additional_headers=SHOWN) as browser:
        await browser.say(content)
        return (await browser.turn())[-1]


async def test_collector_gets_a_span_for_each_turn(scripted_agent):
    with Collector() as collector, gateway(scripted_agent, collector.url, delay_milliseconds=50) as service:
        assert (await a_turn(service, "script:tokens 3"))["type"] == "assistant_message"
        answered, path, body = await collector.next()
        assert (await a_turn(service, "script:error"))["type"] == "error"
        failed, _, _ = await collector.next()
    assert path == "/v1/traces"
    for span in (answered, failed):
        assert span.name == "invoke_agent agent-runtime"
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.end_time_unix_nano >= span.start_time_unix_nano
    assert (answered.status.code, failed.status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)
    assert b"agent-gateway" in body
    assert b"tokens 3" not in body  # nothing that people said


@pytest.mark.parametrize("backlog", [None, 1], ids=["nobody listens", "nobody answers"])
async def test_turns_are_answered_and_the_process_ends_when_the_collector_is_gone(scripted_agent, backlog):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if backlog:
            silent.listen(backlog)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with gateway(scripted_agent, url, delay_milliseconds=600_000) as service:
            assert (await a_turn(service, "hello"))["type"] == "assistant_message"
            assert await asyncio.to_thread(service.stop) == 0
            said = service.output()
    assert "last spans lost" in said
    assert "Traceback" not in said

"""A receiver of webhooks: a real HTTP server, which verifies each with the package of Standard Webhooks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook

LIMIT_SECONDS = 90
SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes.").decode()


class Received(NamedTuple):
    """A webhook whose signature is right."""

    webhook_id: str
    body: dict[str, Any]
    path: str


class Receiver:
    """Collects webhooks; ``answer`` gives the status of each, and may wait, or raise ``OSError`` to break off."""

    def __init__(self, secret: str = SECRET) -> None:
        self.received: list[Received] = []
        self.forged: list[str] = []
        self.answer: Callable[[Received], int] = lambda received: 204
        self._verifier = Webhook(secret)
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hooks?from=gateway"

    @property
    def ids(self) -> list[str]:
        return [received.webhook_id for received in self.received]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what was received holds."""
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT_SECONDS), self.received
        assert not self.forged

    def wait_for(self, count: int) -> list[Received]:
        """Wait until so many webhooks have arrived. Returns them."""
        self.wait(lambda: len(self.received) >= count)
        return self.received

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def take(self, headers: dict[str, str], body: bytes, path: str) -> int:
        try:
            payload = self._verifier.verify(body.decode(), headers)
        except Exception as exc:
            self.forged.append(repr(exc))
            return 400
        assert payload == json.loads(body)
        received = Received(headers["webhook-id"], payload, path)
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
        return self.answer(received)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    status = receiver.take(dict(self.headers.items()), body, self.path)
                except OSError:
                    self.close_connection = True
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Keep still."""

        return Handler

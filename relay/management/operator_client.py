"""The operator's commands' requests to a running gateway, over REST, which is the same for every store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from relay.conf import conf
from relay.protocol import json_text
from relay.protocol.event_stream import EventStreamDecoder
from relay.protocol.request_headers import INTERNAL_KEY

REPLY_SECONDS: Final = 15.0  # above what the gateway itself allows its store
PAGE: Final = 1_000
MAX_EVENT_BYTES: Final = 16_777_216  # a snapshot may be as long as the longest answer

Fields = dict[str, Any]  # a JSON object


class Refused(Exception):
    """The gateway refused the request; ``str`` gives the reason, ``status`` is HTTP's."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


class Unreachable(Exception):
    """No gateway answers at the address."""


class OperatorClient:
    """A connection to one gateway."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self._url}/api/v1",
            headers={INTERNAL_KEY: conf.internal_api_keys[0]},
            timeout=REPLY_SECONDS,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def sessions(self) -> tuple[list[Fields], str]:
        """List the live sessions, all of them. Also returns a warning if some are missing, otherwise an empty text."""
        found: list[Fields] = []
        cursor: str | None = ""
        warning = ""
        while cursor is not None:
            page = self._object("GET", "/sessions", params={"cursor": cursor, "limit": PAGE})
            found += page["sessions"]
            cursor, warning = page["next"], page.get("warning") or warning
        return found, warning

    def cancel(self, session_id: str, turn_id: str | None) -> Fields:
        """Stop a turn; returns the acknowledgement."""
        return self._object("POST", f"{_path(session_id)}/cancel", json={"turn_id": turn_id})

    def clear_queue(self, session_id: str) -> int:
        """Cancel all queued turns of a session; give their number."""
        return int(self._object("DELETE", f"{_path(session_id)}/queue")["cancelled"])

    def session(self, session_id: str) -> Fields:
        """Describe a session.

        Raises:
            Refused: also if there is none, with status 404.
        """
        with _absence_said(session_id):
            return self._object("GET", _path(session_id))

    def delete(self, session_id: str) -> None:
        """Erase a session.

        Raises:
            Refused: also if there is none, with status 404.
        """
        with _absence_said(session_id):
            self._ask("DELETE", _path(session_id))

    def disconnect(self, session_id: str) -> int:
        """Disconnect a session's viewers; give their number."""
        return int(self._object("DELETE", f"{_path(session_id)}/viewers")["viewers"])

    def turns(self, session_id: str, limit: int) -> tuple[list[Fields], bool]:
        """Return a session's newest ended turns, ``limit`` at most, oldest first; and whether none is missing."""
        found: list[Fields] = []
        before, is_complete = "", True
        while before is not None and len(found) < limit:
            parameters = {"before": before, "limit": min(PAGE, limit - len(found))}
            page = self._object("GET", f"{_path(session_id)}/turns", params=parameters)
            found += page["turns"]
            before, is_complete = page["next"], is_complete and not page["incomplete"]
        return found[::-1], is_complete

    def notify(self, content: str, session_id: str | None) -> None:
        """Send a notice to every client, or to those of one session."""
        self._ask("POST", "/notice", json={"content": content, "session_id": session_id})

    def drain(self, *, everywhere: bool) -> None:
        """Drain the process that answers, or all."""
        self._ask("POST", "/drain", json={"everywhere": everywhere})

    def ticket(self, session_id: str, subject: str | None, seconds: int | None) -> Fields:
        """Issue a ticket."""
        request = {"session_id": session_id, "subject": subject, "expires_in": seconds}
        return self._object("POST", "/tickets", json=request)

    def frames(self, session_id: str, after: str) -> Iterator[tuple[Fields, str]]:
        """Yield a session's frames as they arrive, each with the cursor behind it, until the connection ends."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
        decoder = EventStreamDecoder(MAX_EVENT_BYTES)
        with (
            self._unreachable_said(),
            self._http.stream(
                "GET", f"{_path(session_id)}/events", headers=headers, timeout=httpx.Timeout(REPLY_SECONDS, read=None)
            ) as response,
        ):
            if response.status_code == 204:
                raise Refused("This conversation was deleted.", 204)
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            for chunk in response.iter_raw():
                for event in decoder.feed(chunk):
                    yield json_text.decode(event.data), event.last_event_id

    def _object(self, method: str, path: str, **options: Any) -> Fields:
        response = self._ask(method, path, **options)
        try:
            fields: Fields = response.json()
        except ValueError as exc:
            raise self._no_gateway(response) from exc
        return fields

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:  # Any: httpx' own
        with self._unreachable_said():
            response = self._http.request(method, path, **options)
        if not response.is_success:
            raise self._refusal(response)
        return response

    def _refusal(self, response: httpx.Response) -> Refused | Unreachable:
        """Return the reason that the gateway gives; a server that gives none is no gateway."""
        if response.status_code == 401:
            words = "The gateway refuses the key: GATEWAY__INTERNAL_API_KEY here differs from the gateway's."
            return Refused(words, 401)
        try:
            fields = response.json()
            if fields.get("code") == "store_unavailable":  # its own text is for clients
                return Refused("The gateway cannot reach its store. Run: manage.py doctor", 503)
            if fields.get("detail") == "bad request":  # the answer to a Host that is not allowed
                name = response.request.url.host
                return Refused(
                    f"The gateway does not accept the host name {name}: add it to its GATEWAY__ALLOWED_HOSTS.", 400
                )
            return Refused(fields.get("content") or fields["detail"], response.status_code)
        except (ValueError, AttributeError, KeyError):
            return self._no_gateway(response)

    def _no_gateway(self, response: httpx.Response) -> Unreachable:
        words = f"The server at {self._url} is not a gateway (HTTP {response.status_code})."
        return Unreachable(f"{words} Give the gateway's address with --url.")

    @contextmanager
    def _unreachable_said(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as exc:
            raise Unreachable(
                f"No gateway answers at {self._url}. Is it running? Give its address with --url."
            ) from exc


@contextmanager
def _absence_said(session_id: str) -> Iterator[None]:
    """Name the session that does not exist."""
    try:
        yield
    except Refused as exc:
        if exc.status == HTTPStatus.NOT_FOUND:
            raise Refused(f"There is no session {session_id}.", exc.status) from exc
        raise


def _path(session_id: str) -> str:
    return f"/sessions/{quote(session_id, safe='')}"

"""One conversation of ``manage.py chat``: lines in, tokens out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any, Final

from relay.management.chat_client import HISTORY, ChatClient, Frame
from relay.management.chat_screen import ENDINGS, Screen
from relay.management.terminal import printable
from relay.tasks import cancel_and_wait

PAST_TURNS: Final = 20  # shown at the start


class Conversation:
    """The conversation in a session.

    Attributes:
        has_failed: an answer to a message that was typed here failed, or the message was refused.
    """

    def __init__(self, client: ChatClient, session_id: str) -> None:
        self.has_failed = False
        self._client = client
        self._session_id = session_id
        self._screen = Screen()
        self._held: list[Frame] | None = None  # until the history is shown
        self._own: set[str] = set()  # messages that were typed here
        self._active: str | None = None
        self._is_connected = False
        self._is_lost = False
        self._is_stopping = False
        self._is_input_over = False
        self._open: set[str | None] = set()  # turns that were asked for here, by message or turn, and have not ended
        self._typed = bytearray()
        self._sending: set[asyncio.Task[Any]] = set()  # Any: their results are not asked for
        self._quitting = asyncio.Event()

    async def run(self) -> None:
        """Talk until it is over.

        Raises:
            Closed: the gateway said not to connect again.
            BrokenPipeError: the reader of standard output has left.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        showing = asyncio.create_task(self._show_frames())
        quitting = asyncio.create_task(self._quitting.wait())
        try:
            either: list[asyncio.Task[Any]] = [showing, quitting]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                self._screen.status("\n")
                showing.result()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_reader(sys.stdin.fileno())
            await cancel_and_wait(showing, quitting, *self._sending)
        self._screen.status(f"\nTo continue: manage.py chat --session {self._session_id}\n")

    # Input.

    def _start_reading(self) -> None:
        try:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read_typed)
        except OSError:  # a file: it is there already
            self._take_typed(sys.stdin.buffer.read())
            self._take_typed(b"")

    def _read_typed(self) -> None:
        self._take_typed(os.read(sys.stdin.fileno(), 65_536))

    def _take_typed(self, data: bytes) -> None:
        """Send each whole line; at the end of the input (no data) the rest too."""
        *lines, rest = (bytes(self._typed) + (data or b"\n")).split(b"\n")
        self._typed = bytearray(rest)
        for line in lines:
            if content := line.decode(errors="replace").strip():
                self._screen.typed()
                self._do(self._say(content))
            elif data and self._active is None:
                self._screen.prompt()
        if not data:
            self._on_end_of_input()

    def _on_end_of_input(self) -> None:
        """Quit on Ctrl-D; a script's last answers are waited for."""
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._is_input_over = True
        if sys.stdin.isatty():
            self._quitting.set()
        else:
            self._do(self._quit_if_over())

    async def _quit_if_over(self) -> None:
        if self._is_input_over and not self._open and not self._client.is_waiting:
            self._quitting.set()

    async def _say(self, content: str) -> None:
        self._is_stopping = False
        client_message_id = await self._client.say(content)
        self._own.add(client_message_id)
        self._open.add(client_message_id)

    def _on_interrupt(self) -> None:
        if self._is_stopping or (self._active is None and not self._open):
            self._quitting.set()
            return
        self._is_stopping = True
        self._do(self._client.stop(self._active))

    def _do(self, coroutine: Any) -> None:  # Any: a coroutine of whatever result
        task = asyncio.get_running_loop().create_task(coroutine)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    # Output.

    async def _show_frames(self) -> None:
        async with contextlib.aclosing(self._client.frames()) as frames:
            async for frame in frames:
                self._take(frame)
                await self._quit_if_over()

    def _take(self, frame: Frame) -> None:
        """Show a frame, but for those that have to wait for the history. A script gets its own answers alone."""
        if self._held is None:
            if self._screen.is_terminal or frame.get("turn_id") in {None, *self._open, self._asked(frame)}:
                self._show(frame)
        elif frame["type"] in ("history", "lost") or frame.get("client_message_id") == HISTORY:
            self._show_history(frame)
        else:
            self._held.append(frame)

    def _show_history(self, frame: Frame) -> None:
        """Show the turns that had ended before, then what came meanwhile. There are none if it could not be had."""
        held, self._held = self._held or [], None
        here = {other.get("turn_id") for other in held}
        for turn in reversed(frame.get("turns", [])):
            if turn["turn_id"] not in here:
                self._screen.past(turn)
        self._screen.prompt()
        self._start_reading()
        for other in [*held, *([frame] if frame["type"] == "lost" else [])]:
            self._show(other)

    def _show(self, frame: Frame) -> None:
        match frame:
            case {"type": "welcome"}:
                self._on_welcome()
            case {"type": "lost"}:
                self._on_lost()
            case {"type": "user_message"}:
                self._start_turn(frame)
            case {"type": "assistant_message", "is_final": False}:
                self._screen.token(frame["token"])
            case {"type": "assistant_message"}:
                self._end_turn(frame["turn_id"], ENDINGS.get(frame["finish_reason"], ""))
            case {"type": "error", "turn_id": turn_id}:
                self._fail(turn_id, f"\n[{printable(frame['content'])}]")
            case {"type": "error"}:
                self._fail(frame.get("client_message_id"), f"[{printable(frame['content'])}]")
            case {"type": "snapshot"}:
                self._on_snapshot(frame)
            case {"type": "notice"}:
                self._screen.status(f"\n[{printable(frame['content'])}]\n")
            case _:
                self._screen.event(frame)

    def _asked(self, frame: Frame) -> str | None:
        """Name the turn that starts with a message that was typed here."""
        return frame["turn_id"] if frame.get("client_message_id") in self._own else None

    def _on_welcome(self) -> None:
        if not self._is_connected:
            self._is_connected = True
            self._screen.end_progress()
            self._screen.status(f"Connected. Session {self._session_id}. Ctrl-C stops an answer, Ctrl-D quits.\n")
            if self._screen.is_terminal:
                self._held = []
                self._do(self._client.ask_history(PAST_TURNS))
            else:
                self._start_reading()
        elif self._is_lost:
            self._screen.status("[reconnected]\n")
            if self._active is None:
                self._screen.prompt()
        self._is_lost = False

    def _on_lost(self) -> None:
        if not self._is_connected:
            self._screen.progress(f"Cannot reach {self._client.address}; retrying (Ctrl-C to quit)")
        elif not self._is_lost:
            self._screen.status("\n[connection lost; retrying]\n")
        self._is_lost = True

    def _start_turn(self, frame: Frame) -> None:
        client_message_id = frame.get("client_message_id")
        self._active, self._is_stopping = frame["turn_id"], False
        is_own = client_message_id in self._own
        if is_own:
            self._own.discard(client_message_id)
            self._open.discard(client_message_id)
            self._open.add(frame["turn_id"])
        self._screen.question(frame["content"], is_typed=is_own)

    def _fail(self, name: str | None, words: str) -> None:
        self.has_failed |= name in self._open
        self._end_turn(name, words)

    def _end_turn(self, name: str | None, words: str) -> None:
        self._open.discard(name)
        self._own.discard(name or "")
        if name == self._active:
            self._active = None
        self._is_stopping = False
        self._screen.end(words)

    def _on_snapshot(self, frame: Frame) -> None:
        if frame["reason"] == "epoch_changed":
            self._screen.status("[the gateway no longer has this conversation; a new one starts here]\n")
            self.has_failed |= bool(self._open)
            self._open.clear()
            self._active = None
        if frame["content"]:
            self._screen.token(f"[…] {frame['content']}")
        if frame["turn_id"] is not None and frame["finish_reason"] is None:
            self._active = frame["turn_id"]
        elif frame["turn_id"] is not None:
            self._end_turn(frame["turn_id"], "")
        else:
            self._screen.prompt()

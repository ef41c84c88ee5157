"""``manage.py chat``: talk to the agent in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import textwrap
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay.layers.values import new_id
from relay.management.chat_client import ChatClient, Closed, Frame
from relay.management.terminal import printable
from relay.protocol.client_messages import is_session_id
from relay.tasks import cancel_and_wait

HELP = """\
Talk to the agent in this terminal, through a gateway that is running. Ctrl-C stops an answer; pressed again, or when
no answer is running, it quits, and so does Ctrl-D. A lost connection comes back by itself.
"""
PROMPT: Final = "> "
MAX_TOOL_CHARACTERS: Final = 300
ENDINGS: Final = {"stop": "", "cancelled": " [stopped]", "length": " [the answer reached its length limit]"}


class Command(BaseCommand):
    """Chat until the person quits, or the gateway says not to come back."""

    help = HELP
    requires_system_checks = ()  # the gateway's settings are not its business

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="ws://127.0.0.1:8000", help="of the gateway (default: %(default)s)")
        parser.add_argument("--session", help="go on in this session (default: a new one)")

    def handle(self, *args: Any, url: str, session: str | None, **options: Any) -> None:  # Any: as in Django
        session_id = session or new_id()
        if not is_session_id(session_id):
            raise CommandError("A session's name has 1 to 128 of A-Z a-z 0-9 . _ : ~ @ -")
        url = re.sub(r"\Ahttp", "ws", url)
        if not re.match(r"wss?://[^/?#]", url):
            raise CommandError("The address must begin with ws:// or wss://")
        try:
            asyncio.run(Chat(ChatClient(url, session_id), session_id).run())
        except Closed as exc:
            raise CommandError(str(exc)) from exc


class Chat:
    """The conversation on the screen: lines in, tokens out."""

    def __init__(self, client: ChatClient, session_id: str) -> None:
        self._client = client
        self._session_id = session_id
        self._own: set[str] = set()  # messages that were typed here
        self._active: str | None = None
        self._is_connected = False
        self._is_lost = False
        self._is_stopping = False
        self._is_input_over = False
        self._is_prompting = False  # nothing has been typed since the prompt
        self._is_line_empty = True
        self._is_reasoning = False  # the bracket around the agent's reasoning is open
        self._open: set[str | None] = set()  # turns that were asked for here, by message or turn, and have not ended
        self._half = ""  # of an emoji that the agent cut in two
        self._typed = bytearray()
        self._sending: set[asyncio.Task[Any]] = set()  # Any: their results are not asked for
        self._quitting = asyncio.Event()

    async def run(self) -> None:
        """Chat until it is over."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        showing = asyncio.create_task(self._show_frames())
        quitting = asyncio.create_task(self._quitting.wait())
        try:
            either: list[asyncio.Task[Any]] = [showing, quitting]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                self._write("\n")
                showing.result()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_reader(sys.stdin.fileno())
            await cancel_and_wait(showing, quitting, *self._sending)
        self._write(f"\nTo go on here: manage.py chat --session {self._session_id}\n")

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
                self._is_prompting = False
                self._do(self._say(content))
            elif data and self._active is None:
                self._write(PROMPT)
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
                self._show(frame)
                await self._quit_if_over()

    def _show(self, frame: Frame) -> None:
        match frame:
            case {"type": "welcome"}:
                self._on_welcome(frame)
            case {"type": "lost"}:
                self._on_lost()
            case {"type": "user_message"}:
                self._start_turn(frame)
            case {"type": "assistant_message", "is_final": False}:
                self._write(self._printable(frame["token"]))
            case {"type": "assistant_message"}:
                self._end_turn(frame["turn_id"], ENDINGS.get(frame["finish_reason"], ""))
            case {"type": "error", "turn_id": turn_id}:
                self._end_turn(turn_id, f"\n[{printable(frame['content'])}]")
            case {"type": "error"}:
                self._end_turn(frame.get("client_message_id"), f"[{printable(frame['content'])}]")
            case {"type": "snapshot"}:
                self._on_snapshot(frame)
            case {"type": "notice"}:
                self._write(f"\n[{printable(frame['content'])}]\n")
            case _:
                self._show_event(frame)

    def _show_event(self, event: Frame) -> None:
        """Show an event of the agent's, if there are words for it."""
        match event:
            case {"type": "reasoning", "token": str(token)}:
                self._write_reasoning(token)
            case {"type": "tool_call" | "tool_result"}:
                self._write_note(_words_of_tool(event))

    def _on_welcome(self, welcome: Frame) -> None:
        if not self._is_connected:
            self._is_connected = True
            self._write(f"Connected. Session {self._session_id}. Ctrl-C stops an answer, Ctrl-D quits.\n{PROMPT}")
            self._start_reading()
        elif self._is_lost:
            self._write("[connected again]\n" + ("" if self._active else PROMPT))
        self._is_lost = False

    def _on_lost(self) -> None:
        if not self._is_lost:
            self._write("\n[connection lost; retrying]\n" if self._is_connected else "[no answer yet; waiting]\n")
        self._is_lost = True

    def _start_turn(self, frame: Frame) -> None:
        client_message_id = frame.get("client_message_id")
        self._active, self._half, self._is_stopping = frame["turn_id"], "", False
        self._is_line_empty = True  # the message that was typed ended one
        is_own = client_message_id in self._own
        if is_own:
            self._own.discard(client_message_id)
            self._open.discard(client_message_id)
            self._open.add(frame["turn_id"])
        if self._is_prompting or not is_own:  # else it stands on the line above, as it was typed
            self._write(f"\r{PROMPT}{printable(frame['content'])}\n")

    def _end_turn(self, name: str | None, words: str) -> None:
        self._open.discard(name)
        self._own.discard(name or "")
        if name == self._active:
            self._active = None
        self._is_stopping = False
        self._write(f"{words}\n{PROMPT}")

    def _on_snapshot(self, frame: Frame) -> None:
        if frame["reason"] == "epoch_changed":
            self._write("[the gateway has forgotten this conversation; a new one starts here]\n")
            self._open.clear()
            self._active = None
        if frame["content"]:
            self._write(f"[…] {self._printable(frame['content'])}")
        if frame["turn_id"] is not None and frame["finish_reason"] is None:
            self._active = frame["turn_id"]
        elif frame["turn_id"] is not None:
            self._end_turn(frame["turn_id"], "")
        else:
            self._write(PROMPT)

    def _printable(self, text: str) -> str:
        """Make a token fit for the screen; half a character waits for the other half."""
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return printable(text[: len(text) - len(self._half)])

    def _write_reasoning(self, token: str) -> None:
        """Show a token of reasoning; all that follow each other share one pair of brackets."""
        opening = "" if self._is_reasoning else "[" if self._is_line_empty else "\n["
        self._is_reasoning = True
        self._print(opening + self._printable(token))

    def _write_note(self, words: str) -> None:
        """Show words in brackets, on a line of their own."""
        opening = "[" if self._is_line_empty or self._is_reasoning else "\n["
        self._write(f"{opening}{words}]\n")

    def _write(self, text: str) -> None:
        if self._is_reasoning:
            self._is_reasoning = False
            text = f"]\n{text}"
        self._print(text)

    def _print(self, text: str) -> None:
        self._is_prompting = text.endswith(PROMPT)
        self._is_line_empty = text.endswith("\n") if text else self._is_line_empty
        sys.stdout.write(text)
        sys.stdout.flush()


def _words_of_tool(frame: Frame) -> str:
    """Say which tool an agent calls, with what, or what came of it; each agent has its own idea of the members."""
    name = frame.get("tool_name") or frame.get("name")
    if frame["type"] == "tool_call":
        words = f"calls {name or 'a tool'} {json.dumps(frame.get('arguments', {}), ensure_ascii=False)}"
    else:
        words = f"{name or 'result'}: {frame.get('error') or frame.get('result')}"
    return printable(textwrap.shorten(words, MAX_TOOL_CHARACTERS, placeholder=" …"))

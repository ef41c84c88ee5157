"""A conversation on standard output: all of it on a terminal, the answers alone in a pipe."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any, Final

from relay.management.terminal import printable

PROMPT: Final = "> "
MAX_TOOL_CHARACTERS: Final = 300
ENDINGS: Final = {"stop": "", "cancelled": " [stopped]", "length": " [the answer reached the length limit]"}


class Screen:
    """Writes tokens as they arrive. In a pipe everything that is no part of an answer goes to standard error."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._has_prompts = self.is_terminal and sys.stdin.isatty()
        self._is_prompting = False  # nothing has been typed since the prompt
        self._is_line_empty = True
        self._is_reasoning = False  # the bracket around the agent's reasoning is open
        self._is_in_progress = False  # a line that may get longer
        self._half = ""  # of an emoji that the agent cut in two

    def question(self, content: str, *, is_typed: bool) -> None:
        """Show a message, unless it was typed here and is still on the line above."""
        self._half = ""
        self._is_line_empty = True  # the message that was typed ended one
        if self.is_terminal and (self._is_prompting or not is_typed):
            self._write(f"\r{PROMPT}{printable(content)}\n")

    def typed(self) -> None:
        """Note that a message was typed behind the prompt."""
        self._is_prompting = False

    def token(self, text: str) -> None:
        """Show a piece of the answer."""
        self._write(self._printable(text))

    def end(self, words: str = "") -> None:
        """End an answer; ``words`` in brackets say how, if not well."""
        if self.is_terminal:
            self._write(f"{words}\n")
        else:
            self._write("\n")
            self._aside(words)
        self.prompt()

    def past(self, turn: dict[str, Any]) -> None:
        """Show a turn that has ended before, as the history has it."""
        message, answer, shown = turn["message"], turn["answer"], 0
        self.question(message if isinstance(message, str) else json.dumps(message), is_typed=False)
        for placed in turn["events"]:
            self.token(answer[shown : placed["position"]])
            shown = placed["position"]
            self.event(placed["event"])
        self.token(answer[shown:])
        error = turn["error"]
        self._write(f"\n[{printable(error['content'])}]\n" if error else f"{ENDINGS.get(turn['finish_reason'], '')}\n")

    def event(self, event: dict[str, Any]) -> None:
        """Show an event of the agent's, if there are words for it."""
        match event:
            case {"type": "reasoning", "token": str(token)}:
                self.reasoning(token)
            case {"type": "tool_call" | "tool_result"}:
                self.note(_words_of_tool(event))

    def reasoning(self, token: str) -> None:
        """Show a token of reasoning; all that follow each other share one pair of brackets."""
        if not self.is_terminal:
            return
        opening = "" if self._is_reasoning else "[" if self._is_line_empty else "\n["
        self._is_reasoning = True
        self._print(opening + self._printable(token))

    def note(self, words: str) -> None:
        """Show a text in brackets, on a separate line."""
        if not self.is_terminal:
            self._aside(f"[{words}]")
            return
        opening = "[" if self._is_line_empty or self._is_reasoning else "\n["
        self._write(f"{opening}{words}]\n")

    def status(self, words: str) -> None:
        """Show a line about the connection or the session."""
        if self.is_terminal:
            self._write(words)
        else:
            self._aside(words)

    def progress(self, words: str) -> None:
        """Show that something is tried: the words the first time, and on a terminal a dot each time after that."""
        if not self._is_in_progress:
            self._is_in_progress = True
            self.status(words)
        elif self.is_terminal:
            self._write(".")

    def end_progress(self) -> None:
        """End the line of the progress, if there is one."""
        if self._is_in_progress:
            self._is_in_progress = False
            self.status("\n")

    def prompt(self) -> None:
        """Invite a person to type."""
        if self._has_prompts:
            self._write(PROMPT)
            self._is_prompting = True

    def _aside(self, words: str) -> None:
        if words.strip():
            sys.stderr.write(f"{words.strip()}\n")
            sys.stderr.flush()

    def _printable(self, text: str) -> str:
        """Make a token fit for the screen; half a character waits for the other half."""
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return printable(text[: len(text) - len(self._half)])

    def _write(self, text: str) -> None:
        if self._is_reasoning:
            self._is_reasoning = False
            text = f"]\n{text}"
        self._print(text)

    def _print(self, text: str) -> None:
        self._is_prompting = False
        self._is_line_empty = text.endswith("\n") if text else self._is_line_empty
        sys.stdout.write(text)
        sys.stdout.flush()


def _words_of_tool(frame: dict[str, Any]) -> str:
    """Say which tool an agent calls, with what, or what came of it; each agent has its own idea of the members."""
    name = frame.get("tool_name") or frame.get("name")
    if frame["type"] == "tool_call":
        words = f"calls {name or 'a tool'} {json.dumps(frame.get('arguments', {}), ensure_ascii=False)}"
    else:
        words = f"{name or 'result'}: {frame.get('error') or frame.get('result')}"
    return printable(textwrap.shorten(words, MAX_TOOL_CHARACTERS, placeholder=" …"))

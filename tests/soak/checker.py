"""Decides from a history alone whether the gateway kept its promises.

1. Every accepted message has exactly one end, the same for whoever saw it.
2. What a viewer sees of an answer is a gapless prefix of it at any moment, and the whole when it ends with ``stop``.
3. The agent is asked once for a message, whatever dies.
4. An answer that its agent keeps, and of which the log had something, goes on whatever dies: it ends as such only where
   the store was away.
5. Nothing is left over when all is done.

A store that lost all its data excuses what it took with it, and only that: a message accepted before may have no end,
and a turn that had ended may end once more, with ``buffer_lost``.

A cluster in which a replica took over has lost at most the newest data, so it excuses only what was seen since all had
reached the replicas: a message accepted then may have no end, a turn that ended then may end once more, a turn that
started then may be asked again under the same name (``docs/design/lease.md``, "What a store can lose"). Viewers get a
snapshot. In a new epoch it may be of a later turn: then the ends of those before cannot be seen any more. A viewer that
comes back when the log has grown past its cursor again cannot be told: it is not judged until the next message or
snapshot.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import NamedTuple

from tests.soak.history import Event, History

Ending = str  # a finish_reason, or an error's code
_ENDINGS = {"stop", "cancelled", "interrupted", "store_unavailable", "buffer_lost", "shutting_down"}
_GIVEN_UP = {"interrupted", "shutting_down"}
_KEPT = "script:kept "
_FIRST_WORD = re.compile(r"(m\d+)-")


class Loss(NamedTuple):
    """What a store lost.

    Attributes:
        since: what was seen before this time is not lost.
        after: it was lost after this time.
        noted: it was lost before this time.
        is_all: everything was lost, and not only the newest.
    """

    since: int
    after: int
    noted: int
    is_all: bool


class Checker:
    """One pass over a history; ``problems`` says in words what was wrong."""

    def __init__(self, history: History) -> None:
        self.problems: list[str] = []
        self.texts: dict[str, str] = {}  # by content: what the agent answers
        self.message_texts: dict[str, str] = {}
        self.contents: dict[str, str] = {}  # by turn
        self.endings: defaultdict[str, list[tuple[int, Ending]]] = defaultdict(list)
        self._accepted: dict[str, tuple[int, str]] = {}  # by turn: when, which message
        self._sessions: dict[str, str] = {}  # by turn, or viewer
        self._epochs: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by session: when each was first seen
        self._message_turns: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._asked: list[tuple[str, str]] = []
        self._losses: list[Loss] = []
        self._started: dict[str, int] = {}  # by turn: when its beginning was first seen
        self._had_text: set[str] = set()  # turns
        self._viewers: dict[str, ResumableView | PlainView] = {}
        self.plain_ends: list[tuple[str, str, str]] = []  # viewer, message, text
        for when, event in enumerate(history.events):
            self._learn(when, event)
        for when, event in enumerate(history.events):
            self._take(when, event)
        self._check_ends()
        self._check_plain_ends()
        self._check_asked()
        self._check_kept()

    def complain(self, problem: str) -> None:
        self.problems.append(problem)

    def ended(self, when: int, turn: str, ending: Ending) -> None:
        """Somebody saw a turn's end."""
        if all(known != ending for _, known in self.endings[turn]):
            self.endings[turn].append((when, ending))

    def text_of(self, turn: str) -> str | None:
        """The whole answer of a turn; ``None`` if nobody knows what was asked."""
        content = self.contents.get(turn)
        if content is not None:
            return self.texts.get(content)
        return self.message_texts.get(self._accepted[turn][1]) if turn in self._accepted else None

    def _learn(self, when: int, event: Event) -> None:
        """Note what all the rest is compared with."""
        match event["kind"]:
            case "said":
                self.texts[event["content"]] = event["text"]
                self.message_texts[event["message"]] = event["text"]
            case "accepted":
                self._accepted.setdefault(event["turn"], (when, event["message"]))
                self._sessions[event["turn"]] = event["session"]
                turns = self._message_turns[event["message"]]
                if event["turn"] not in [turn for _, turn in turns]:
                    turns.append((when, event["turn"]))
            case "opened":
                self._sessions[event["viewer"]] = event["session"]
            case "frame":
                self._learn_frame(when, self._sessions[event["viewer"]], event["frame"])
            case "asked":
                self._asked.append((event["turn"], event["content"]))
            case "store_lost":
                self._losses.append(Loss(0, event["after"], when, is_all=True))
            case "newest_lost":
                self._losses.append(Loss(event["since"], event["since"], when, is_all=False))

    def _learn_frame(self, when: int, session: str, frame: Event) -> None:
        if "epoch" in frame:
            self._epochs[session].setdefault(frame["epoch"], when)
        elif frame["type"] == "user_message":
            self.contents[frame["turn_id"]] = frame["content"]
            self._started.setdefault(frame["turn_id"], when)
        elif frame.get("token") and "turn_id" in frame:
            self._had_text.add(frame["turn_id"])

    def _take(self, when: int, event: Event) -> None:
        match event["kind"]:
            case "opened":
                self._open(event)
            case "frame":
                self._viewers[event["viewer"]].take(when, event["frame"])
            case "leftover":
                self.complain(f"left over: {event['what']}")

    def _open(self, event: Event) -> None:
        name = event["viewer"]
        if event["dialect"] == "plain":
            self._viewers[name] = PlainView(name, self)  # each socket begins anew
            return
        view = self._viewers.get(name)
        if not isinstance(view, ResumableView) or event["cursor"] is None:
            view = self._viewers[name] = ResumableView(name, self)
        view.open(event["cursor"])

    def lost_after(self, when: int) -> bool:
        """Was something lost that was seen at this time?"""
        return any(loss.since <= when < loss.noted for loss in self._losses)

    def _check_ends(self) -> None:
        for turn, (when, message) in self._accepted.items():
            if not self.endings[turn] and not (self.lost_after(when) or self._started_again(turn, when)):
                self.complain(f"{message}: accepted as {turn}, never ended")
        for turn, endings in self.endings.items():
            if not all(self._may_end_again(before, again) for before, again in pairwise(endings)):
                self.complain(f"{turn}: ended {len(endings)} times: {', '.join(ending for _, ending in endings)}")
            for ending in {ending for _, ending in endings} - _ENDINGS:
                self.complain(f"{turn}: ended with {ending}, for which there was no cause")
        for message, turns in self._message_turns.items():
            if len(turns) > 1 and not self._lost_between(turns[0][0], turns[-1][0]):
                self.complain(f"{message}: accepted as {len(turns)} turns")

    def _started_again(self, turn: str, when: int) -> bool:
        """Did its session's log start again after this time? What no viewer had seen of the old one is gone."""
        return any(seen > when for seen in self._epochs[self._sessions[turn]].values())

    def _may_end_again(self, before: tuple[int, Ending], again: tuple[int, Ending]) -> bool:
        """May a loss have taken a turn's end? With all data only the turn's own worker still knows the turn."""
        losses = self._losses_between(before[0], again[0])
        return any(not loss.is_all or "buffer_lost" in (before[1], again[1]) for loss in losses)

    def _check_plain_ends(self) -> None:
        for viewer, message, text in self.plain_ends:
            endings = {ending for _, turn in self._message_turns[message] for _, ending in self.endings[turn]}
            if text != self.message_texts[message] and endings == {"stop"}:
                self.complain(f"plain viewer {viewer}: {message} ended with {text[-60:]!r}, not the whole answer")

    def _lost_between(self, first: int, last: int) -> bool:
        return bool(self._losses_between(first, last))

    def _losses_between(self, first: int, last: int) -> list[Loss]:
        """Give the losses that may have taken what was seen first, before it was seen last."""
        return [loss for loss in self._losses if loss.since <= first and loss.after < last]

    def is_doubtful(self, when: int | None) -> bool:
        """May a loss, whenever it was noticed, have taken what was seen at this time, or was not seen at all?"""
        return any(when is None or loss.since <= when for loss in self._losses)

    def _check_asked(self) -> None:
        for turn, count in Counter(turn for turn, _ in self._asked).items():
            if count > 1 + self._lost_starts(turn):
                self.complain(f"{turn}: the agent was asked {count} times")
        accepted = {self.contents.get(turn): when for turn, (when, _) in reversed(self._accepted.items())}
        for content, count in Counter(content for _, content in set(self._asked)).items():
            if count > 1 and not self.is_doubtful(accepted.get(content)):
                self.complain(f"{content}: the agent was asked {count} times, as different turns")

    def _lost_starts(self, turn: str) -> int:
        """Count the losses after which a turn may have started again: of the first one its start was the newest."""
        started = self._started.get(turn)
        known = started if started is not None else self._accepted.get(turn, (0, ""))[0]
        losses = [loss for loss in self._losses if not loss.is_all and known < loss.noted]
        return len(losses) if any(started is None or loss.since <= started for loss in losses) else 0

    def _check_kept(self) -> None:
        for turn, endings in self.endings.items():
            if self.contents.get(turn, "").startswith(_KEPT) and turn in self._had_text:
                for when, ending in endings:
                    if ending in _GIVEN_UP and not self.is_doubtful(when):
                        self.complain(f"{turn}: ended with {ending}, though its answer could go on")


class ResumableView:
    """What one ``gateway.v1`` client shows, through all its sockets."""

    def __init__(self, name: str, checker: Checker) -> None:
        self._name = name
        self._checker = checker
        self._epoch = ""
        self._offset = 0
        self._needs_snapshot = False
        self._seen_at = 0  # the newest frame
        self._is_fresh = True
        self._is_judged = True
        self._texts: dict[str, str] = {}
        self._ended: set[str] = set()
        self._current: str | None = None

    def open(self, cursor: Event | None) -> None:
        self._is_fresh = True
        if self._checker.lost_after(self._seen_at):
            self._forget()
        if cursor is not None and (cursor["epoch"], cursor["offset"]) != (self._epoch, self._offset):
            self._complain(f"the run itself is wrong: came back with {cursor}, had seen {self._epoch}:{self._offset}")

    def _forget(self) -> None:
        """What it has shown may be lost, and have come again otherwise."""
        self._is_judged = False
        self._texts.clear()
        self._ended.clear()
        self._current = None

    def take(self, when: int, frame: Event) -> None:
        kind = frame["type"]
        if kind == "welcome":
            self._welcome(frame)
        elif kind == "snapshot":
            self._snapshot(when, frame)
        elif "offset" in frame and kind != "ping":
            self._log_frame(when, frame)

    def _complain(self, problem: str) -> None:
        self._checker.complain(f"viewer {self._name}: {problem}")

    def _welcome(self, frame: Event) -> None:
        if not self._is_fresh:
            self._complain("a second welcome")
        self._is_fresh = False
        if frame["recovered"] is False or frame["after"] is None:
            self._needs_snapshot = True
            return
        if frame["recovered"] is True and self._epoch and (frame["epoch"], frame["after"]) != self._position():
            self._complain(f"recovered at {frame['epoch']}:{frame['after']}, had seen {self._epoch}:{self._offset}")
        self._epoch, self._offset = frame["epoch"], frame["after"]

    def _position(self) -> tuple[str, int]:
        return self._epoch, self._offset

    def _snapshot(self, when: int, frame: Event) -> None:
        self._needs_snapshot, self._seen_at = False, when
        self._epoch, self._offset = frame["epoch"], frame["offset"]
        turn = frame["turn_id"]
        if frame["reason"] == "epoch_changed":
            if not self._checker.is_doubtful(when):
                self._complain("its log started again, for which there was no cause")
            self._forget()
        self._is_judged = True
        self._current = turn
        if turn is None:
            return
        self._ended.discard(turn)
        self._texts[turn] = ""
        self._show(turn, frame["content"])
        if frame["finish_reason"] is not None:
            self._end(when, turn, frame["error"]["code"] if frame["error"] else frame["finish_reason"])

    def _log_frame(self, when: int, frame: Event) -> None:
        if self._needs_snapshot:
            self._complain(f"frame {frame['offset']} came before the snapshot")
        if frame["offset"] != self._offset + 1:
            self._complain(f"frame {frame['offset']} followed {self._offset}")
        self._offset, self._seen_at = frame["offset"], when
        turn, kind = frame["turn_id"], frame["type"]
        self._is_judged |= kind == "user_message"
        if self._is_judged:
            self._judge(turn, frame)
        if kind in ("assistant_message", "error") and frame.get("is_final", True):
            self._end(when, turn, frame["code"] if kind == "error" else frame["finish_reason"])

    def _judge(self, turn: str, frame: Event) -> None:
        """Compare a frame with those before it."""
        kind = frame["type"]
        if turn in self._ended:
            self._complain(f"{turn}: {kind} after its end")
        if kind == "user_message":
            self._begin(turn, frame["content"])
        elif turn not in self._texts:
            if not (kind == "error" and frame["code"] == "buffer_lost"):  # the first frame of a new life
                self._complain(f"{turn}: {kind} without its beginning")
            self._texts[turn] = ""
        elif turn != self._current:
            self._complain(f"{turn}: {kind} within turn {self._current}")
        if kind == "assistant_message" and not frame["is_final"]:
            self._show(turn, frame["token"])

    def _begin(self, turn: str, content: str) -> None:
        if turn in self._texts:
            self._complain(f"{turn}: began twice")
        if self._current is not None and self._current not in self._ended:
            self._complain(f"{turn}: began within turn {self._current}")
        if content not in self._checker.texts:
            self._complain(f"{turn}: nobody said {content!r}")
        self._texts[turn] = ""
        self._current = turn

    def _show(self, turn: str, text: str) -> None:
        self._texts[turn] += text
        whole = self._checker.text_of(turn)
        if whole is not None and not whole.startswith(self._texts[turn]):
            self._complain(f"{turn}: shows {self._texts[turn][-60:]!r}, which is no prefix of the answer")

    def _end(self, when: int, turn: str, ending: Ending) -> None:
        self._ended.add(turn)
        self._checker.ended(when, turn, ending)
        if self._is_judged and ending == "stop" and self._texts[turn] != self._checker.text_of(turn):
            self._complain(f"{turn}: ended with {self._texts[turn][-60:]!r}, which is not the whole answer")


class PlainView:
    """What one plain socket shows: answers without names, so their texts name their messages."""

    def __init__(self, name: str, checker: Checker) -> None:
        self._name = name
        self._checker = checker
        self._text = ""

    def take(self, when: int, frame: Event) -> None:
        if frame["type"] == "assistant_message" and not frame["is_final"]:
            self._text += frame["token"]
            return
        self._check(is_final=frame["type"] == "assistant_message")
        self._text = ""

    def _check(self, *, is_final: bool) -> None:
        if not self._text:
            return
        found = _FIRST_WORD.match(self._text)
        whole = self._checker.message_texts.get(found[1]) if found else None
        if whole is None or not whole.startswith(self._text):
            self._checker.complain(f"plain viewer {self._name}: shows {self._text[-60:]!r}, no prefix of an answer")
        elif is_final and found:
            self._checker.plain_ends.append((self._name, found[1], self._text))


def problems(history: History) -> list[str]:
    """Say what a history shows to be wrong; nothing, if all is well."""
    return Checker(history).problems

"""The scripts: ``lua/*.lua`` behind the constants that come from the bounds, named by their SHA-1."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Final

import msgspec

from relay.exceptions import UpstreamUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis.buckets import share
from relay.layers.redis.frames import TOKEN_BYTES
from relay.protocol.frames import FrameKind

WORK_TTL_SECONDS: Final = 86_400.0  # a session with a running or queued turn waits so long for a worker
MEMO_SECONDS: Final = 60.0  # a call is not repeated after so long

_FOLDER: Final = Path(__file__).parent / "lua"
# These are not about one session: the first group needs nothing else, the second one the time.
_ALONE: Final = ("announce", "check", "outbox_remove", "page", "position")
_TIMED: Final = ("latest", "outbox_due", "outbox_postpone", "outbox_take", "pending", "take", "use_once", "used_for")
_FURTHER: Final = "--[[further fields]]"  # the place in append.lua where an append may store more of the session
_POSITION: Final = r", 'position', turn_id .. '\n' .. known .. '\n' .. position"
_ASKING: Final = ("enqueue", "state")  # these are about a session's questions, too


class Script(msgspec.Struct, frozen=True):
    """A script's text and the name under which the store knows it once it is loaded."""

    text: str
    sha: str


class Scripts:
    """Every script, for one set of bounds.

    Args:
        names_sender: each announcement starts with the id of the node that publishes it, and a newline.
    """

    def __init__(self, bounds: Bounds, *, names_sender: bool = False) -> None:
        now = (_FOLDER / "prelude_now.lua").read_text()
        sender = _sender("redis.call('CLUSTER', 'MYID') .. '\\n'" if names_sender else "''")
        log = _constants(bounds) + sender + now + (_FOLDER / "prelude_log.lua").read_text()
        session = log + (_FOLDER / "prelude_session.lua").read_text()
        asking = session + (_FOLDER / "prelude_questions.lua").read_text()
        append, append_calls = _function("append"), _function("append_calls")
        append_at = f"local position\n{append}".replace(_FURTHER, _POSITION)
        preludes = {
            "append": log,
            "append_at": log + append_at,
            "append_calls": asking + append,
            "append_calls_at": asking + append_at + append_calls + "local append = append_calls\n",
            **dict.fromkeys(_ASKING, asking),
            "keep": _constants(bounds) + now,
            **dict.fromkeys(_ALONE, sender),
            **dict.fromkeys(_TIMED, now),
        }
        self._scripts = {
            name: _script(preludes.get(name, session) + path.read_text()) for name, path in _files().items()
        }

    def __getitem__(self, name: str) -> Script:
        return self._scripts[name]


def _files() -> dict[str, Path]:
    """Return the last part of each script."""
    files = {path.stem: path for path in sorted(_FOLDER.glob("*.lua")) if not path.stem.startswith("prelude")}
    return {**files, "append_calls_at": files["append_at"]}


def _function(name: str) -> str:
    return f"local function {name}()\n{(_FOLDER / f'{name}.lua').read_text()}end\n"


def _sender(value: str) -> str:
    return f"local function sender() return {value} end\n"


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _constants(bounds: Bounds) -> str:
    values: dict[str, float | str] = {
        "MAX_FRAMES": bounds.max_frames,
        "MAX_BYTES": bounds.max_bytes,
        "MAX_QUEUE": bounds.max_queue,
        "MAX_REMEMBERED": bounds.max_remembered_turns,
        "TTL": bounds.ttl_seconds,
        "LEASE": bounds.lease_seconds,
        "VIEWER": bounds.viewer_seconds,
        "MAX_EMPTY": share(bounds.max_empty_sessions),
        "QUESTION": bounds.question_seconds,
        "MAX_QUESTIONS": bounds.max_questions,
        "MAX_QUESTION_BYTES": bounds.max_question_bytes,
        "UNAVAILABLE": f'\'"code":"{UpstreamUnavailable.code}"\'',
        "WORK_TTL": math.ceil(max(bounds.ttl_seconds, WORK_TTL_SECONDS) * 1000),
        "MEMO_TTL": math.ceil(MEMO_SECONDS * 1000),
        "TOKEN": ord(str(FrameKind.TOKEN.value)),
        "TOKEN_SIZE": TOKEN_BYTES,
    }
    return "".join(f"local {name} = {value}\n" for name, value in values.items())

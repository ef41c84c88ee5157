"""The base class for readers of other projects: each event of the agent becomes texts and objects. Pure."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from relay.agent.protocols.agent import AgentEvents
from relay.layers.values import AgentPosition
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame


class EventReader(AgentEvents):
    """Reads one answer. Texts and objects mean the same as those that an answer function yields.

    An answer ends with an object that has ``is_final: true`` or the type ``error``; later events are dropped.

    Attributes:
        ends_with_body: may the end of the response be the end of the answer, too? If not, it counts as broken off.
    """

    ends_with_body: ClassVar[bool] = False

    @abc.abstractmethod
    def read(self, event: Event) -> Iterable[str | dict[str, Any]]:
        """Return what an event adds to the answer: texts are tokens, objects are events (any JSON).

        An object without a ``type`` is an event that was not understood: it is left out, and clients get a notice.
        """

    def opened(self, headers: Mapping[str, str]) -> None:
        """See ``AnswerReader``. By default nothing: runs that can be rejoined are those of the gateway's protocol."""

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """See ``AnswerReader``."""
        return False

    def _read(self, event: Event, made: list[Frame]) -> None:
        for value in self.read(event):
            if self.is_over:
                return
            if isinstance(value, str):
                self._add_text(value, made)
            elif isinstance(value, dict):
                self._take_value("", value, made)
            else:
                raise TypeError(f"an answer consists of texts and objects, not {type(value).__name__}")

    def _end(self, made: list[Frame]) -> None:
        if self.ends_with_body:
            self._finish("stop", made)
        else:
            super()._end(made)

"""The demo agent's settings, from the environment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from relay.conf import Conf, read_texts
from relay.setting_parsers import http_url

NAMES: Final = ("DEMO_AGENT__OPENAI_BASE_URL", "DEMO_AGENT__OPENAI_MODEL", "DEMO_AGENT__OPENAI_API_KEY")
DEFAULT_WORD_DELAY_SECONDS: Final = 0.08  # a little faster than people read


@dataclass(frozen=True)
class OpenAIConfig:
    """The model server that answers instead of the canned answers.

    Attributes:
        base_url: the address without ``/chat/completions``, as in OpenAI's own clients; it usually ends in ``/v1``.
        model: the model's name there; may be empty for servers that have only one.
        api_key: sent as a bearer credential; empty sends none.
    """

    base_url: str
    model: str = ""
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class DemoAgentConfig:
    """All settings of the demo agent.

    Attributes:
        internal_api_keys: each of them is accepted (``X-Internal-Auth``).
        word_delay_seconds: pause before each word of a canned answer; 0 answers at once.
        openai: ``None`` answers with canned words.
    """

    internal_api_keys: tuple[str, ...] = field(default=(Conf.internal_api_keys.default,), repr=False)
    word_delay_seconds: float = DEFAULT_WORD_DELAY_SECONDS
    openai: OpenAIConfig | None = None

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, word_delay_seconds: float = DEFAULT_WORD_DELAY_SECONDS
    ) -> DemoAgentConfig:
        """Read ``GATEWAY__INTERNAL_API_KEY`` as the gateway does, from a file too, and ``DEMO_AGENT__OPENAI_…``.

        Raises:
            ValueError: the keys or the model server's address are malformed.
        """
        texts = read_texts(environment)
        return cls(
            internal_api_keys=Conf(lambda: texts).internal_api_keys,
            word_delay_seconds=word_delay_seconds,
            openai=_openai_config(environment),
        )


def _openai_config(environment: Mapping[str, str]) -> OpenAIConfig | None:
    base_url = environment.get("DEMO_AGENT__OPENAI_BASE_URL", "").strip().rstrip("/")
    if not base_url:
        return None
    parser = http_url()
    with contextlib.suppress(ValueError):
        return OpenAIConfig(
            base_url=parser.read(base_url),
            model=environment.get("DEMO_AGENT__OPENAI_MODEL", "").strip(),
            api_key=environment.get("DEMO_AGENT__OPENAI_API_KEY", "").strip(),
        )
    raise ValueError(f"DEMO_AGENT__OPENAI_BASE_URL must be {parser.expected}.{parser.advise(base_url)}")

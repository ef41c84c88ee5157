"""The demo agent's settings, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from relay.conf import Conf, read_texts

REPLACED_NAMES: Final = ("DEMO_AGENT__OPENAI_BASE_URL", "DEMO_AGENT__OPENAI_MODEL", "DEMO_AGENT__OPENAI_API_KEY")
DELAY: Final = "DEMO_AGENT__DELAY"
DEFAULT_WORD_DELAY_SECONDS: Final = 0.08  # a little faster than people read


@dataclass(frozen=True)
class DemoAgentConfig:
    """All settings of the demo agent.

    Attributes:
        internal_api_keys: each of them is accepted (``X-Internal-Auth``).
        word_delay_seconds: pause before each word of a canned answer; 0 answers at once.
    """

    internal_api_keys: tuple[str, ...] = field(default=(Conf.internal_api_keys.default,), repr=False)
    word_delay_seconds: float = DEFAULT_WORD_DELAY_SECONDS

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, word_delay_seconds: float = DEFAULT_WORD_DELAY_SECONDS
    ) -> DemoAgentConfig:
        """Read ``GATEWAY__INTERNAL_API_KEY`` as the gateway does, from a file too.

        Raises:
            ValueError: the keys are malformed, or a model server is named, which the gateway itself asks now.
        """
        if any(environment.get(name, "").strip() for name in REPLACED_NAMES):
            raise ValueError(
                "DEMO_AGENT__OPENAI_… is no setting any more: the gateway itself asks model servers. Set"
                " GATEWAY__AGENT_PROTOCOL=openai, GATEWAY__AGENT_URL (the address without /v1), GATEWAY__AGENT_MODEL"
                " and GATEWAY__AGENT_API_KEY; no demo agent is needed then."
            )
        texts = read_texts(environment)
        return cls(internal_api_keys=Conf(lambda: texts).internal_api_keys, word_delay_seconds=word_delay_seconds)

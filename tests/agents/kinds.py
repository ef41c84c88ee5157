"""The real agents: how each is started, and how a gateway before it is set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests import processes

PYTHON = processes.ROOT / ".venv-agents/bin/python"
PROGRAMS = Path(__file__).with_name("programs")
START_SECONDS = 300.0  # LiteLLM's proxy needs 15 seconds of a core
KEY = "sk-" + "0123456789abcdef" * 3  # LiteLLM refuses a weaker one
STOPPED = "the endless answer was stopped"  # printed by the programs' model


class Kind(NamedTuple):
    """A real agent.

    Attributes:
        program: in ``programs``, without its ending. Several kinds may share one.
        settings: of the gateway, without the prefix.
        health: a path that answers as soon as the agent can be asked.
    """

    program: str
    settings: dict[str, str]
    health: str = "/"

    @property
    def is_told(self) -> bool:
        """Does the gateway tell it the history, and the system prompt?"""
        return self.settings.get("AGENT_PROTOCOL") in ("agui", "aisdk", "openai", "responses")

    def having(self, **settings: str) -> Kind:
        """Return the same agent, with further settings."""
        return self._replace(settings={**self.settings, **settings})


LITELLM = {"AGENT_MODEL": "test", "AGENT_API_KEY": KEY}
KINDS = {
    "openai-agents": Kind("openai_agents_agent", {}),
    "pydantic-ai-agui": Kind("pydantic_ai_agent", {"AGENT_PROTOCOL": "agui", "AGENT_PATH": "/agui"}),
    "pydantic-ai-aisdk": Kind("pydantic_ai_agent", {"AGENT_PROTOCOL": "aisdk", "AGENT_PATH": "/aisdk"}),
    "langgraph": Kind("langgraph_agent", {"AGENT_PROTOCOL": "langgraph", "FORWARD_TYPES": "tool_result"}, "/ok"),
    "a2a": Kind("a2a_agent", {"AGENT_PROTOCOL": "a2a", "FORWARD_TYPES": "tool_result"}),
    "litellm": Kind("litellm_agent", {"AGENT_PROTOCOL": "openai", **LITELLM}, "/health/liveliness"),
    "litellm-responses": Kind("litellm_agent", {"AGENT_PROTOCOL": "responses", **LITELLM}, "/health/liveliness"),
}
TEST_MODELS = {  # pydantic-ai's own
    "pydantic-ai-agui": Kind("pydantic_ai_agent", {"AGENT_PROTOCOL": "agui", "AGENT_PATH": "/agui/test"}),
    "pydantic-ai-aisdk": Kind("pydantic_ai_agent", {"AGENT_PROTOCOL": "aisdk", "AGENT_PATH": "/aisdk/test"}),
}


def process(kind: Kind) -> processes.Process:
    """Return an agent's process, not started yet.

    Raises:
        RuntimeError: the agents' packages are not installed.
    """
    if not PYTHON.exists():
        raise RuntimeError("The agents' packages are missing: `make .venv-agents/installed` installs them.")
    arguments = [str(PROGRAMS / f"{kind.program}.py"), "{port}"]
    keys = {"LITELLM_MASTER_KEY": KEY, "AGENT_KEY": processes.KEY}
    return processes.Process(arguments, kind.health, python=str(PYTHON), start_seconds=START_SECONDS, **keys)

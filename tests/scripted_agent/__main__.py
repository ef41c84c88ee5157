"""``python -m tests.scripted_agent``: the scripted agent in its own process."""

import argparse
import asyncio
import contextlib

from tests.scripted_agent.server import ScriptedAgent


async def _serve_for_ever(host: str, port: int) -> None:
    async with ScriptedAgent(port, host) as agent:
        print(f"scripted agent on {agent.url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="An agent that plays the script that each message names.")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_for_ever(arguments.host, arguments.port))


if __name__ == "__main__":
    main()

"""Start the demo agent and the gateway on this machine, say what can be opened, and stop both on Ctrl-C.

Where the environment or ``.env`` names an agent, the gateway asks that one, and no demo agent is started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from relay.conf import Conf, read_texts
from relay.env_file import EnvFileInvalid, load_env_file
from scripts.progress import Progress, run
from scripts.run_ports import HOST, PortsUnfit, names_agent, usable_ports

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
DEFAULTS = {"GATEWAY__DEBUG": "true", "GATEWAY__LOG_LEVEL": "INFO"}
READY = """
  Open {url} and say something: {agent} answers.

{links}
  Ctrl-C stops everything.
"""
AGENT_LINKS = {
    "Your own agent": "docs/agent.md; put GATEWAY__AGENT_URL=http://… into .env, and make run again",
    "A real model": "in .env: GATEWAY__AGENT_PROTOCOL=openai, GATEWAY__AGENT_URL=http://localhost:11434 (Ollama),"
    " GATEWAY__AGENT_MODEL=llama3.2",
}


def main() -> int:
    """Run until Ctrl-C, or until one of the processes ends; give an exit code."""
    progress = Progress(write=lambda words: print(words, flush=True))
    try:
        env = environment()
        brings_agent = not names_agent(env)
        ports = usable_ports("make run", "PORT", *(["AGENT_PORT"] if brings_agent else []))
    except (EnvFileInvalid, PortsUnfit) as exc:
        print(exc)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        return _run(progress, env, ports, processes)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _run(
    progress: Progress, env: dict[str, str], ports: Mapping[str, int], processes: list[subprocess.Popen[bytes]]
) -> int:
    progress.say("Preparing the database.")
    if run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], progress, env=env):
        progress.say("The database could not be prepared; the reason is above.")
        return 1
    if "AGENT_PORT" in ports:
        progress.say("Starting the demo agent and the gateway.")
        env["GATEWAY__AGENT_URL"] = f"http://{HOST}:{ports['AGENT_PORT']}"
        agent = [sys.executable, "manage.py", "demo_agent", "--host", HOST, "--port", str(ports["AGENT_PORT"])]
        processes.append(subprocess.Popen(agent, env=env))
    else:
        progress.say("Starting the gateway.")
    serve = [sys.executable, "manage.py", "serve", "--host", HOST, "--port", str(ports["PORT"]), "--no-access-log"]
    processes.append(subprocess.Popen(serve, env=env))
    if wait_until_healthy(ports["PORT"], processes, progress.tick):
        progress.say(words_when_ready(env, ports["PORT"], has_demo_agent="AGENT_PORT" in ports))
    while all(process.poll() is None for process in processes):
        time.sleep(0.2)
    ended = "The demo agent" if len(processes) > 1 and processes[0].poll() is not None else "The gateway"
    progress.say(f"\n  {ended} has ended, so everything stops. Its output is above.\n")
    return 1


def environment() -> dict[str, str]:
    """Return the environment of the processes: this process' own, with the settings of .env, and defaults to try it.

    Raises:
        EnvFileInvalid: ``.env`` cannot be read.
    """
    env = dict(os.environ)
    load_env_file(ROOT / ".env", env)
    return {**DEFAULTS, **env}


def words_when_ready(env: Mapping[str, str], port: int, *, has_demo_agent: bool) -> str:
    """Say what can be opened now, and what to do next."""
    conf = Conf(lambda: read_texts(env)).without_problems()
    url = f"http://{HOST}:{port}/"
    links = {}
    if conf.debug or conf.admin:
        links["Admin"] = f"{url}admin/ (a user for it: {_python()} manage.py createsuperuser)"
    if conf.debug:
        links["API"] = f"{url}api/v1/docs (the sockets: docs/protocol.md)"
    links |= AGENT_LINKS
    page = url if conf.debug or conf.chat_page else "no page, since GATEWAY__CHAT_PAGE is false, but a socket,"
    return READY.format(
        url=page,
        agent='the demo agent (say "help")' if has_demo_agent else "the agent of your settings",
        links="".join(f"    {name:<16}{words}\n" for name, words in links.items()),
    )


def _python() -> str:
    path = Path(sys.executable)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def wait_until_healthy(
    port: int, processes: list[subprocess.Popen[bytes]], tick: Callable[[], None] = lambda: None
) -> bool:
    """Wait until the gateway answers; give whether it does."""
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            tick()
            time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())

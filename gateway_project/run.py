"""Start the demo agent and the gateway on this machine, print the addresses to open, and stop both on Ctrl-C.

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

from gateway_project.folder import FOLDER, IS_CHECKOUT
from gateway_project.progress import Progress, run
from gateway_project.run_ports import HOST, MAKE_RUN, Caller, PortsUnfit, names_agent, usable_ports
from relay.conf import Conf, read_texts
from relay.conf.env_file import EnvFileInvalid, load_env_file

# In a checkout the current directory has the packages; elsewhere it may hold a folder with the name of one.
COMMAND = [sys.executable, *([] if IS_CHECKOUT else ["-P"]), "-m", "relay"]
DEFAULTS = {"GATEWAY__DEBUG": "true", "GATEWAY__LOG_LEVEL": "INFO"}
READY = """
  Open {url} and send a message: {agent} answers.

{links}
  Ctrl-C stops everything.
"""
AGENT_LINKS = {
    "Your own agent": "docs/agent.md; put GATEWAY__AGENT_URL=http://… into .env, and run {start} again",
    "A real model": "in .env: GATEWAY__AGENT_PROTOCOL=openai, GATEWAY__AGENT_URL=http://localhost:11434 (Ollama),"
    " GATEWAY__AGENT_MODEL=llama3.2",
}


def main(caller: Caller = MAKE_RUN, folder: Path = FOLDER) -> int:
    """Run until Ctrl-C, or until one of the processes ends; give an exit code. ``.env`` lies in the folder."""
    progress = Progress(write=lambda words: print(words, flush=True))
    try:
        env = environment(folder)
        brings_agent = not names_agent(env)
        ports = usable_ports(caller, "PORT", *(["AGENT_PORT"] if brings_agent else []))
    except (EnvFileInvalid, PortsUnfit) as exc:
        print(exc)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        return _run(progress, caller, env, ports, processes)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(processes)


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the processes have ended as they should; Ctrl-C meanwhile makes them end at once."""
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _run(
    progress: Progress,
    caller: Caller,
    env: dict[str, str],
    ports: Mapping[str, int],
    processes: list[subprocess.Popen[bytes]],
) -> int:
    progress.say("Preparing the database.")
    if run([*COMMAND, "migrate", "--verbosity", "0"], progress, env=env):
        progress.say("The database could not be prepared; see the error above.")
        return 1
    if "AGENT_PORT" in ports:
        progress.say("Starting the demo agent and the gateway.")
        env["GATEWAY__AGENT_URL"] = f"http://{HOST}:{ports['AGENT_PORT']}"
        agent = [*COMMAND, "demo_agent", "--host", HOST, "--port", str(ports["AGENT_PORT"])]
        processes.append(subprocess.Popen(agent, env=env))
    else:
        progress.say("Starting the gateway.")
    serve = [*COMMAND, "serve", "--host", HOST, "--port", str(ports["PORT"]), "--no-access-log"]
    processes.append(subprocess.Popen(serve, env=env))
    if wait_until_healthy(ports["PORT"], processes, progress.tick):
        progress.say(words_when_ready(caller, env, ports["PORT"], has_demo_agent="AGENT_PORT" in ports))
    while all(process.poll() is None for process in processes):
        time.sleep(0.2)
    ended = "The demo agent" if len(processes) > 1 and processes[0].poll() is not None else "The gateway"
    progress.say(f"\n  {ended} has stopped, so everything is being stopped. See its output above.\n")
    return 1


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the processes: this process' own, with the settings of .env, and defaults to try it.

    Raises:
        EnvFileInvalid: ``.env`` cannot be read.
    """
    env = dict(os.environ)
    load_env_file(folder / ".env", env)
    return {**DEFAULTS, **env}


def words_when_ready(caller: Caller, env: Mapping[str, str], port: int, *, has_demo_agent: bool) -> str:
    """Say what can be opened now, and what to do next."""
    conf = Conf(lambda: read_texts(env)).without_problems()
    url = f"http://{HOST}:{port}/"
    links = {}
    if conf.debug or conf.admin:
        links["Admin"] = f"{url}admin/ (a user for it: {caller.manage} createsuperuser)"
    if conf.debug:
        links["API"] = f"{url}api/v1/docs (the sockets: docs/protocol.md)"
    links |= {name: words.format(start=caller.start) for name, words in AGENT_LINKS.items()}
    page = url if conf.debug or conf.chat_page else "no page, because GATEWAY__CHAT_PAGE is false, but a socket,"
    return READY.format(
        url=page,
        agent='the demo agent (send "help")' if has_demo_agent else "the agent of your settings",
        links="".join(f"    {name:<16}{words}\n" for name, words in links.items()),
    )


def wait_until_healthy(
    port: int, processes: list[subprocess.Popen[bytes]], tick: Callable[[], None] = lambda: None
) -> bool:
    """Wait until the gateway answers, or one of the processes has ended; give whether it answers."""
    while all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            tick()
            time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())

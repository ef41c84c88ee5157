"""Programs under Node.js that use the packages of other front ends, and tell what these show in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from typing import Any, Self

from tests.clients import LIMIT_SECONDS
from tests.processes import ROOT

FOLDER = ROOT / "tests" / "javascript"
PACKAGES = FOLDER / "node_modules" / "ai"

Change = dict[str, Any]


def lacks() -> str | None:
    """Say what is missing to run them."""
    if shutil.which("node") is None:
        return "no Node.js: install version 20.11 or newer to test front ends"
    return None if PACKAGES.exists() else "npm's packages are missing: run `npm ci` in tests/javascript"


class Program:
    """One program; ``changes`` are what it has told so far."""

    def __init__(self, name: str, *arguments: str) -> None:
        # Before version 22 of Node.js WebSocket has to be asked for. The links to the gateway's modules are modules by
        # the package.json beside them, not by those of their targets' folder.
        flags = ["--no-warnings", "--experimental-websocket", "--preserve-symlinks", "--preserve-symlinks-main"]
        self._command = ["node", *flags, f"front_ends/{name}.js", *arguments]
        self.changes: list[Change] = []

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, cwd=FOLDER, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def do(self, action: str, **options: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": action, **options}).encode() + b"\n")
        await self._process.stdin.drain()

    async def change(self) -> Change | None:
        """The next change, ``None`` at the program's end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            return None
        self.changes.append(json.loads(line))
        return self.changes[-1]

    async def until(self, is_wanted: Callable[[Change], bool]) -> Change:
        while (change := await self.change()) is not None:
            if is_wanted(change):
                return change
        raise AssertionError(f"the program has ended: {self.changes}")

    async def until_done(self, action: str) -> None:
        await self.until(lambda change: change.get("done") == action)

    async def end(self) -> list[Change]:
        """All that it tells, to its end."""
        while await self.change() is not None:
            pass
        return self.changes

    def last(self, name: str) -> Any:
        return next(change[name] for change in reversed(self.changes) if name in change)

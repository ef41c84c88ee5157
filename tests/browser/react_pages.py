"""The React pages of docs/front-ends.md, built by Vite as their readers would build them.

Each is built twice: as it stands, and without React's StrictMode (``…-plain``).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.examples import examples_of
from tests.front_ends.node import FOLDER
from tests.processes import ROOT, START_SECONDS, environment

EXAMPLES = examples_of("front-ends.md")
PLAIN = "-plain"
NAMES = ("react-http", "react-websocket", "react-gateway")
MODULES = ("gateway-chat-transport.js", "ui-message-chunks.js", "gateway-client.js", "gateway-http-socket.js")
HTML = '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="./{}.jsx"></script>'
CONFIG = (
    "export default {{ esbuild: {{ jsx: 'automatic' }}, build: {{ minify: false, rollupOptions: {{ input: {} }} }} }};"
)


def build(folder: Path) -> Path:
    """Build all of them at once, with React's checks for development: without them StrictMode does nothing."""
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    for name in MODULES:
        (folder / name).write_text((ROOT / "relay" / "static" / "relay" / name).read_text())
    for name in ("page", *NAMES):
        source = EXAMPLES[f"jsx {name}"]
        (folder / f"{name}.jsx").write_text(source)
        plain = re.sub(r"(</?)StrictMode>", r"\1>", source).replace("./page.jsx", f"./page{PLAIN}.jsx")
        (folder / f"{name}{PLAIN}.jsx").write_text(plain)
    pages = [name + mode for name in NAMES for mode in ("", PLAIN)]
    for name in pages:
        (folder / f"{name}.html").write_text(HTML.format(name))
    (folder / "vite.config.mjs").write_text(CONFIG.format([f"{name}.html" for name in pages]))
    subprocess.run(
        ["node", "node_modules/vite/bin/vite.js", "build", "--mode", "development", "--logLevel", "error"],
        cwd=folder,
        env=environment(NODE_ENV="development"),
        check=True,
        timeout=START_SECONDS,
    )
    return folder / "dist"

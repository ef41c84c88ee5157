"""The React examples of docs/client.md, with the package as npm packs it, built by Vite and rendered by Node.js."""

from __future__ import annotations

import json
from pathlib import Path

from tests.examples import examples_of
from tests.front_ends.client_package import install, run
from tests.front_ends.node import FOLDER

EXAMPLES = examples_of("client.md")
PAGES = ("main", "hydrate", "renders")
HTML = (
    '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="root"></div>'
    '<script type="module" src="./{}.jsx"></script>'
)
CONFIG = (
    "export default {{ esbuild: {{ jsx: 'automatic' }}, build: {{ minify: false, rollupOptions: {{ input: {} }} }} }};"
)
# Counts how often each message is drawn.
RENDERS = """
import { memo } from "react";
import { createRoot } from "react-dom/client";
import { useGatewaySession } from "agent-gateway-client/react";

const drawn = (window.drawn = {});
const Message = memo(({ message }) => {
  drawn[message.id] = (drawn[message.id] ?? 0) + 1;
  return <article className={message.role}>{message.parts.map((part) => part.text).join("")}</article>;
});

function Page() {
  const { messages, send, status } = useGatewaySession("renders", {
    base: "https://chat.example",
    ticket: async () => (await (await fetch("/ticket?session=renders")).json()).ticket,
  });
  window.send = send;
  return <main data-status={status}>{messages.map((each) => <Message key={each.id} message={each} />)}</main>;
}
createRoot(document.querySelector("#root")).render(<Page />);
"""
RENDER = """
import { render } from "./server.js";
console.log(JSON.stringify(await render(process.argv[2])));
"""


def build(folder: Path) -> Path:
    """Build all pages, with React's checks for development: StrictMode needs them. Returns the folder."""
    install(folder, "react", "react-dom")
    for name in ("chat", "main", "hydrate", "server"):
        (folder / f"{name}.jsx").write_text(EXAMPLES[f"jsx {name}"])
    (folder / "renders.jsx").write_text(RENDERS)
    (folder / "render.js").write_text(RENDER)
    for name in PAGES:
        (folder / f"{name}.html").write_text(HTML.format(name))
    (folder / "vite.config.mjs").write_text(CONFIG.format([f"{name}.html" for name in PAGES]))
    vite = str(FOLDER / "node_modules" / "vite" / "bin" / "vite.js")
    run(["node", vite, "build", "--mode", "development", "--logLevel", "error"], folder, NODE_ENV="development")
    esbuild = str(FOLDER / "node_modules" / ".bin" / "esbuild")
    server = ["--bundle", "--platform=node", "--format=esm", "--packages=external", "--jsx=automatic"]
    run([esbuild, "server.jsx", *server, "--outfile=server.js"], folder)
    return folder


def rendered(folder: Path, session_id: str, gateway_url: str, key: str) -> str:
    """The page that a server answers: the conversation as HTML, and what it was made of."""
    said = json.loads(run(["node", "render.js", session_id], folder, GATEWAY=gateway_url, GATEWAY_KEY=key))
    page = (folder / "dist" / "hydrate.html").read_text()
    props = json.dumps(said["props"]).replace("<", "\\u003c")
    root = f'<div id="root">{said["html"]}</div><script id="props" type="application/json">{props}</script>'
    return page.replace('<div id="root"></div>', root)

"""The package for npm: what it holds, how large it is, and that its users' tools take it."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

import relay
from tests.front_ends import client_package, node
from tests.front_ends.client_package import NAME, SOURCE, install, packed, run

ESBUILD = str(node.FOLDER / "node_modules" / ".bin" / "esbuild")
TSC = str(node.FOLDER / "node_modules" / ".bin" / "tsc")
TYPES = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "skipLibCheck": False,
    "types": [],
    "exactOptionalPropertyTypes": True,
}
README = (SOURCE / "README.md").read_text()
CONSUMER = f"""
import {{ connect, readTurn, type GatewayClient, type Part }} from '{NAME}';
import {{ GatewayChatTransport }} from '{NAME}/ai-sdk';
import {{ HttpSocket }} from '{NAME}/http';
import {{ useGatewaySession }} from '{NAME}/react';
import {{ GatewaySession, type Message }} from '{NAME}/session';

export function Chat() {{
  const {{ messages, status, connection, pending, send, answer, stop, regenerate, loadOlder }} =
    useGatewaySession('s', {{ base: 'https://chat.example', ticket: async () => null }});
  const more: Promise<boolean> = loadOlder({{ limit: 5 }});
  const id: string | undefined = regenerate()?.clientMessageId ?? undefined;
  stop();
  for (const {{ call_id }} of pending) answer(call_id, 'edit', {{ arguments: {{ euros: 4 }} }});
  const busy: boolean = status === 'submitted' || status === 'streaming';
  return [messages.map(words), connection.state, more, id, busy, send('hi', {{ onBusy: 'interrupt' }}).text];
}}

const words = (message: Message): string => {{
  if (message.role === 'user') return message.parts.map((part) => part.text).join('');
  if (message.role === 'notice') return message.parts.map((part) => part.code).join('');
  return message.parts.map(partWords).join('') + (message.error?.code ?? message.finishReason ?? '');
}};

const partWords = (part: Part): string => {{
  switch (part.type) {{
    case 'text': case 'reasoning': return part.text;
    case 'tool': return `${{part.toolName}} ${{part.state}} ${{part.question ?? ''}}`;
    case 'notice': return part.code;
    case 'event': return part.event.type;
  }}
}};

export const session = new GatewaySession({{ sessionId: 's', history: {{ turns: [], next: null }} }});
export const client: GatewayClient = connect({{ sessionId: 's', http: false, WebSocket: HttpSocket }});
client.on('token', (frame, turn) => turn.parts.map(partWords));
export const read = async () => (await client.history()).turns.map((turn) => readTurn(turn).question?.length);
export const transport = new GatewayChatTransport({{ base: 'https://chat.example' }});
// @ts-expect-error a status that there is not
export const wrong = session.getSnapshot().status === 'busy';
"""
# What a page imports, what is not counted, and the most bytes of the rest: bundled, minified and compressed.
CLIENT = ("./gateway-client.js",)
PAGES = {
    NAME: (f"export * from '{NAME}';", (), 6_000),
    f"{NAME}/react": (f"export * from '{NAME}/react';", CLIENT, 2_048),
    f"{NAME}/session": (f"export * from '{NAME}/session';", CLIENT, 2_000),
    f"{NAME}/ai-sdk": (f"export * from '{NAME}/ai-sdk';", CLIENT, 3_600),
    f"{NAME}/http": (f"export * from '{NAME}/http';", (), 1_700),
    "one function": (f"export {{ newId }} from '{NAME}';", (), 300),
    "nothing": (f"import '{NAME}/react'; import '{NAME}';", (), 30),
}


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if (reason := node.lacks()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the package, and nothing else but React's types."""
    return install(tmp_path_factory.mktemp("consumer"), "@types/react", "csstype")


def test_tarball_holds_the_modules_their_types_and_the_pages_about_them():
    with tarfile.open(packed()) as tarball:
        held = {member.name.removeprefix("package/"): tarball.extractfile(member).read() for member in tarball}
    modules = {path.name: path.read_bytes() for pattern in ("*.js", "*.d.ts") for path in SOURCE.glob(pattern)}
    assert held.keys() == {*modules, "package.json", "README.md", "LICENSE"}
    assert {name: held[name] for name in modules} == modules
    assert held["LICENSE"] == (client_package.ROOT / "LICENSE").read_bytes()


def test_package_has_the_gateways_version_and_needs_nothing():
    package = json.loads((SOURCE / "package.json").read_text())
    assert package["version"] == relay.__version__
    assert not {"dependencies", "scripts"} & package.keys()
    for entry in package["exports"].values():
        for name in entry.values() if isinstance(entry, dict) else [entry]:
            assert (SOURCE / name).is_file()


@pytest.mark.parametrize(
    "options", [{"module": "esnext", "moduleResolution": "bundler"}, {"module": "nodenext"}], ids=["bundler", "Node.js"]
)
def test_strict_consumer_finds_the_types(project, options):
    (project / "consumer.ts").write_text(CONSUMER)
    compiler = {**TYPES, **options, "lib": ["es2022", "dom", "dom.iterable"]}
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": compiler, "files": ["consumer.ts"]}))
    run([TSC, "-p", "."], project)


@pytest.mark.parametrize("name", PAGES)
def test_bundles_are_as_small_as_the_readme_says(project, name):
    source, apart, limit = PAGES[name]
    (project / "page.js").write_text(source)
    outside = [f"--external:{module}" for module in ("react", "./gateway-http-socket.js", *apart)]
    bundle = run([ESBUILD, "page.js", "--bundle", "--minify", "--format=esm", *outside], project)
    size = len(gzip.compress(bundle.encode(), 9))
    assert size <= limit
    if name.startswith(NAME):
        (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {size / 1_000:.1f} KB" in row


def test_node_without_a_websocket_is_told_what_to_pass(project):
    (project / "bare.js").write_text(
        f"import {{ connect }} from '{NAME}'; delete globalThis.WebSocket;\n"
        "try { connect({ base: 'http://127.0.0.1:1', sessionId: 's' }); } catch (error) { console.log(String(error)); }"
    )
    said = run(["node", "bare.js"], project)
    assert said == (
        "TypeError: There is no WebSocket here: pass a class, such as that of the package ws: connect({ WebSocket })\n"
    )

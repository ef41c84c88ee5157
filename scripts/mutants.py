"""Break lines of one package of ``relay/`` on purpose, one at a time, and list those that no test notices.

    make mutants PACKAGE=protocol MUTANTS=200

The mutants are a random sample of all; each must be killed by the quick tests of its package, or be one of those that
``mutants.txt`` beside this file calls harmless, with the reason. It works on a copy of the checkout, so that files that
are being edited are left alone. Type annotations and log texts are not changed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).parent.parent
TESTS = {  # the quickest first, as a mutant is killed by the first test that fails
    "protocol": "tests/unit/protocol tests/unit/agent/test_agent_protocol.py",
    "layers": "tests/unit/layers tests/buffer",
    "layers/redis": "tests/unit/layers tests/buffer -k 'not memory'",
    "layers/memory": "tests/unit/layers tests/buffer -k 'not redis'",
    "turns": "tests/unit/turns tests/api/test_turns.py tests/api/test_tracing.py tests/api/test_transcripts.py "
    "tests/api/test_control.py tests/api/test_plain.py tests/api/test_v1.py",
    "agent": "tests/unit/agent/test_client.py tests/unit/agent/test_redaction.py tests/unit/agent/test_portions.py "
    "tests/unit/agent/test_tls.py tests/unit/turns/test_recorder.py "
    "tests/unit/agent/test_agent_protocol.py tests/api/test_function_agent.py tests/api/test_foreign_agents.py "
    "tests/api/test_plain.py tests/api/test_turns.py tests/api/test_metrics.py tests/unit/agent",
    "access": "tests/unit/access tests/unit/admin tests/api/test_entrance.py tests/api/test_limits.py "
    "tests/api/test_owners.py tests/api/test_policies.py",
    "policies": "tests/unit/policies tests/api/test_policies.py tests/unit/checks tests/api/test_entrance.py",
}
HARMLESS = Path(__file__).with_suffix(".txt")
TEST_SECONDS = 300.0  # a mutant that hangs is killed, too
# A process of tests starts in half the time without what these switch off: plugins, and better words of failures.
PYTEST = "-p pytest_asyncio.plugin -p pytest_django.plugin -p pytest_timeout -p _hypothesis_pytestplugin --assert=plain"
LEFT_OUT = (
    "core/ReplaceBinaryOperator_BitOr_.*",  # ``str | None`` in annotations, which are not evaluated
    "core/ReplaceComparisonOperator_(Eq|NotEq|LtE?|GtE?)_Is.*",  # which objects are one is no choice of the code
    "core/ReplaceComparisonOperator_(Is_Eq|IsNot_NotEq)",  # of enums' members and None: the same
)
CONFIG = """\
[cosmic-ray]
module-path = "relay/{package}"
timeout = {seconds}
excluded-modules = []
test-command = "{python} -m pytest -q -x {pytest} -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {left_out}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=TESTS)
    parser.add_argument("--mutants", type=int, default=200, help="number of mutants to run")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choice")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        _copy_checkout(copy)
        config = CONFIG.format(
            package=options.package,
            seconds=TEST_SECONDS,
            python=sys.executable,
            pytest=PYTEST,
            tests=TESTS[options.package],
            left_out=list(LEFT_OUT),
        )
        (copy / "mutants.toml").write_text(config)
        _run(copy, "cosmic-ray", "init", "mutants.toml", "session.sqlite")
        _run(copy, "cr-filter-operators", "session.sqlite", "mutants.toml")
        with use_db(str(copy / "session.sqlite")) as session:
            _sample(session, options.mutants, random.Random(options.seed), copy)
        _run(copy, "cosmic-ray", "baseline", "mutants.toml")
        _run(copy, "cosmic-ray", "exec", "mutants.toml", "session.sqlite")
        with use_db(str(copy / "session.sqlite")) as session:
            return _report(session)


def _copy_checkout(copy: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def _run(copy: Path, tool: str, *arguments: str) -> None:
    quick = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**os.environ, **quick, "CI": "1"}  # CI: the same examples each time
    subprocess.run([Path(sys.executable).parent / tool, *arguments], cwd=copy, check=True, env=environment)


def _sample(session: WorkDB, count: int, chance: random.Random, copy: Path) -> None:
    """Leave ``count`` mutants to run. One that does not compile is no mutant: no test is needed to notice it."""
    waiting = list(session.pending_work_items)
    chance.shuffle(waiting)
    for item in waiting:
        if count and _compiles(copy, item.mutations[0]):
            count -= 1
        else:
            session.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def _compiles(copy: Path, mutation: MutationSpec) -> bool:
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    code = mutate_code((copy / mutation.module_path).read_text(), operator, mutation.occurrence)
    try:
        compile(code or "", str(mutation.module_path), "exec")
    except SyntaxError:
        return False
    return True


def _harmless(diff: str) -> str | None:
    """Why a mutant may live, if ``HARMLESS`` says so."""
    file, *added = (line for line in diff.splitlines() if line.startswith("+"))
    removed = [line for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    code = _text(added) or f"without {_text(removed)}"  # a decorator
    place = f"{file.removeprefix('+++ b/')} | {code}"
    entries = [line.rpartition(" | ") for line in HARMLESS.read_text().splitlines() if line.count(" | ") > 1]
    return next((f"{place}: {reason}" for pattern, _, reason in entries if fnmatchcase(place, pattern)), None)


def _text(lines: list[str]) -> str:
    return " ".join(line[1:].strip() for line in lines).strip()


def _report(session: WorkDB) -> int:
    ran = [result for _, result in session.results if result.worker_outcome is not WorkerOutcome.SKIPPED]
    survivors = [result for result in ran if result.test_outcome is TestOutcome.SURVIVED]
    harmless = [reason for result in survivors if (reason := _harmless(result.diff))]
    unexplained = [result.diff for result in survivors if not _harmless(result.diff)]
    print(*unexplained, *harmless, sep="\n")
    killed = len(ran) - len(survivors)
    print(f"{killed} of {len(ran)} mutants killed, {len(harmless)} harmless, {len(unexplained)} survived")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())

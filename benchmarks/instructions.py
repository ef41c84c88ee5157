"""Counts the instructions of the pure parts by callgrind: the same on a busy machine as on a quiet one.

``python -m benchmarks.instructions`` prints the figures. Each is compared with the part ``json_only`` of the same run,
so that another build of Python changes them little.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import pure
from benchmarks.processes import ROOT

SEPARATOR = "getppid"  # the C function at whose calls callgrind writes a file
RUN_SECONDS = 250.0

# Instructions in relation to the yardstick, on Python 3.11. A test allows a quarter more, because builds differ.
KNOWN = {
    "body": 0.28,
    "events": 0.19,
    "answer": 0.79,
    "kept_answer": 1.33,
    "texts": 0.09,
    "messages": 0.99,
    "ai_sdk": 0.25,
    "ag_ui": 0.21,
    "openai": 0.18,
}
MARGIN = 1.25


def count() -> dict[str, float]:
    """Return the user-space instructions of each part, once.

    Raises:
        RuntimeError: valgrind is missing or failed; the text says which.
    """
    program = shutil.which("valgrind")
    if program is None:
        raise RuntimeError("valgrind is not installed: scripts/install-valgrind.sh installs it")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        output = Path(folder) / "callgrind"
        command = [
            *(program, "--tool=callgrind", f"--callgrind-out-file={output}", f"--dump-before={SEPARATOR}"),
            *(sys.executable, "-m", "benchmarks.pure"),
        ]
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=RUN_SECONDS)
        if run.returncode:
            raise RuntimeError(f"valgrind failed:\n{run.stderr[-2_000:]}")
        # The first file has what came before the first part.
        files = [Path(f"{output}.{number}") for number in range(2, len(pure.PARTS) + 2)]
        return {part.__name__: _summary(file) / pure.TIMES for part, file in zip(pure.PARTS, files, strict=True)}


def ratios(counts: dict[str, float]) -> dict[str, float]:
    """Divide by the yardstick."""
    return {name: instructions / counts[pure.json_only.__name__] for name, instructions in counts.items()}


def _summary(file: Path) -> int:
    """Return the total of a file of callgrind."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("summary:"))


if __name__ == "__main__":
    counted = count()
    for name, ratio in ratios(counted).items():
        print(f"{name:12} {counted[name]:10,.0f} {ratio:6.3f}")

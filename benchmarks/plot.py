"""The plot: CPU a token frame, and the added latency, of every system in the paced scenario."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from benchmarks.budgets import Results
from benchmarks.systems import SYSTEMS

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same results give the same file
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402

PEER, OURS = "#9aa5b1", "#2563eb"
HEIGHT_INCHES = 0.42  # of a bar


def write_plot(results: Results, path: Path) -> None:
    """Draw bars with their spread, the dearest system on top."""
    cpu = {name: results.spread("paced", name, "cpu_us_per_frame") for name in set(results.systems("paced"))}
    names = sorted(cpu, key=lambda name: cpu[name].median)
    labels = [SYSTEMS[name].title.replace("**", "") for name in names]
    colors = [OURS if "gateway" in label else PEER for label in labels]
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(11, 1.2 + HEIGHT_INCHES * len(names)))
    for axes, figure_name, title in (
        (left, "cpu_us_per_frame", "CPU µs a token frame (logarithmic)"),
        (right, "p99_ms", "added latency p99, ms (logarithmic)"),
    ):
        spreads = [results.spread("paced", name, figure_name) for name in names]
        middles = [spread.median for spread in spreads]
        errors = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
        bars = axes.barh(labels, middles, xerr=errors, color=colors, error_kw={"elinewidth": 1, "capsize": 2})
        axes.bar_label(bars, fmt="{:.1f}", padding=6, fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes, figure_name in ((left, "cpu_us_per_frame"), (right, "p99_ms")):  # one that chokes must not flatten all
        highest = max(results.spread("paced", name, figure_name).median for name in names)
        axes.set_xscale("log")
        axes.set_xlim(right=highest * 5)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

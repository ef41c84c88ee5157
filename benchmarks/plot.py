"""The plot: CPU per token frame, and the added latency, of every system in the paced scenario."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from benchmarks.budgets import Spread
from benchmarks.systems import SYSTEMS

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same results give the same file
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402

PEER, OURS = "#9aa5b1", "#2563eb"
HEIGHT_INCHES = 0.42  # of a bar


FIGURES = {
    "cpu_us_per_frame": "CPU µs per token frame (logarithmic)",
    "p99_ms": "added latency p99, ms (logarithmic)",
}


def write_plot(spreads: Mapping[str, Mapping[str, Spread]], path: Path) -> None:
    """Draw bars with their spread, the dearest system on top; ``spreads`` has the ``FIGURES`` of each system."""
    names = sorted(spreads, key=lambda name: spreads[name]["cpu_us_per_frame"].median)
    labels = [SYSTEMS[name].title.replace("**", "") for name in names]
    colors = [OURS if "gateway" in label else PEER for label in labels]
    drawing, both = plt.subplots(1, 2, sharey=True, figsize=(11, 1.2 + HEIGHT_INCHES * len(names)))
    for axes, (figure, title) in zip(both, FIGURES.items(), strict=True):
        drawn = [spreads[name][figure] for name in names]
        middles = [spread.median for spread in drawn]
        errors = [[s.median - s.low for s in drawn], [s.high - s.median for s in drawn]]
        bars = axes.barh(labels, middles, xerr=errors, color=colors, error_kw={"elinewidth": 1, "capsize": 2})
        axes.bar_label(bars, fmt="{:.1f}", padding=6, fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xscale("log")  # one that chokes must not flatten all
        axes.set_xlim(right=max(middles) * 5)
    drawing.tight_layout()
    drawing.savefig(path, metadata={"Date": None})
    plt.close(drawing)

"""The last hour in one picture: turns, errors, and the time to the first token, minute by minute, as SVG.

One query, which one index answers: the database counts turns by minute, by end, and by how long the first token took,
in steps of five percent. Percentiles are read from those counts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Case, Count, F, IntegerField, Value, When
from django.db.models.functions import Floor, Ln, TruncMinute

from relay.models import GOOD_REASONS, Turn

MINUTES: Final = 60
STEPS: Final = 20  # of the logarithm: 5 % each
LEAST_SECONDS: Final = 0.001  # added, since nothing has no logarithm

LEFT, TOP, WIDTH, HEIGHT = 44, 14, 780, 120  # of the plot, in pixels; numbers stand outside it
BAR: Final = WIDTH / MINUTES

Drawing = dict[str, Any]  # for the template: numbers and texts


def draw(now: datetime) -> Drawing:
    """Count the hour before ``now`` and give the picture's positions and texts."""
    last = now.replace(second=0, microsecond=0)
    minutes = [last - timedelta(minutes=MINUTES - 1 - number) for number in range(MINUTES)]
    turns, errors, steps = _count(minutes[0])
    firsts = {minute: (_percentile(steps[minute], 0.5), _percentile(steps[minute], 0.95)) for minute in minutes}
    bars = [(number, minute, turns[minute], errors[minute], *firsts[minute]) for number, minute in enumerate(minutes)]
    most = max([*turns.values(), 1])
    slowest = _nice(max([slow or 0.0 for _, slow in firsts.values()]))
    return {
        "width": LEFT + WIDTH + LEFT,
        "height": TOP + HEIGHT + 22,
        "left": LEFT,
        "top": TOP,
        "right": LEFT + WIDTH,
        "bottom": TOP + HEIGHT,
        "bars": [_bar(most, *bar) for bar in bars],
        "p50": _path([half for half, _ in firsts.values()], slowest),
        "p95": _path([slow for _, slow in firsts.values()], slowest),
        "hours": [(LEFT + BAR * (n + 0.5), f"{m:%H:%M}") for n, m in enumerate(minutes) if m.minute % 10 == 0],
        "most": most,
        "slowest": f"{slowest:g} s",
        "turns": sum(turns.values()),
        "errors": sum(errors.values()),
        "half": _shown(_percentile(sum(steps.values(), Counter()), 0.5)),
        "slow": _shown(_percentile(sum(steps.values(), Counter()), 0.95)),
    }


def _count(since: datetime) -> tuple[Counter[datetime], Counter[datetime], dict[datetime, Counter[int]]]:
    """Count turns, errors, and first tokens by their step, for each minute."""
    turns: Counter[datetime] = Counter()
    errors: Counter[datetime] = Counter()
    steps: defaultdict[datetime, Counter[int]] = defaultdict(Counter)
    counted = (
        Turn.objects.order_by()
        .filter(ended_at__gte=since)
        .values(
            minute=TruncMinute("ended_at"),
            failed=Case(When(reason__in=GOOD_REASONS, then=0), default=1, output_field=IntegerField()),
            step=Floor(Ln(F("first_token_seconds") + Value(LEAST_SECONDS)) * Value(STEPS)),
        )
        .annotate(count=Count("pk"))
    )
    for row in counted:
        turns[row["minute"]] += row["count"]
        errors[row["minute"]] += row["count"] * row["failed"]
        if row["step"] is not None:
            steps[row["minute"]][int(row["step"])] += row["count"]
    return turns, errors, steps


def _percentile(steps: Counter[int], part: float) -> float | None:
    """Return the seconds within which this part of the first tokens came; ``None`` if there was none."""
    wanted = math.ceil(steps.total() * part)
    for step in sorted(steps):
        wanted -= steps[step]
        if wanted <= 0:
            return max(math.exp((step + 0.5) / STEPS) - LEAST_SECONDS, 0.0)
    return None


def _bar(
    most: int, number: int, minute: datetime, turns: int, errors: int, half: float | None, slow: float | None
) -> Drawing:
    height, failed_height = HEIGHT * turns / most, HEIGHT * errors / most
    return {
        "x": round(LEFT + BAR * number + 1, 2),
        "width": round(BAR - 2, 2),
        "y": round(TOP + HEIGHT - height, 2),
        "height": round(height, 2),
        "failed_y": round(TOP + HEIGHT - failed_height, 2),
        "failed_height": round(failed_height, 2),
        "title": f"{minute:%H:%M}: turns {turns}, errors {errors}, first token {_shown(half)} / {_shown(slow)}",
    }


def _path(values: list[float | None], slowest: float) -> str:
    """Draw a line through the values; where there is none the line is broken."""
    commands, is_drawing = [], False
    for number, value in enumerate(values):
        if value is not None:
            x, y = LEFT + BAR * (number + 0.5), TOP + HEIGHT * (1 - min(value / slowest, 1))
            commands.append(f"L{x:.1f} {y:.1f}" if is_drawing else f"M{x:.1f} {y:.1f}h0")  # h0: a lone one is a dot
        is_drawing = value is not None
    return " ".join(commands)


def _nice(seconds: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten: the top of the scale."""
    power = 10.0 ** math.floor(math.log10(seconds)) if seconds > 0 else 0.1
    return next(step * power for step in (1, 2, 5, 10) if seconds <= step * power)


def _shown(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2g} s"

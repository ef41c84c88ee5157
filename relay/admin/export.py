"""Turns as CSV: streamed, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Final

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from relay.models import Turn

COLUMNS: Final = tuple(field.name for field in Turn._meta.fields if field.name != "id")
CHUNK_ROWS: Final = 200
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet would run (OWASP, "CSV Injection")


def as_csv(turns: QuerySet[Turn]) -> StreamingHttpResponse:
    """Answer with a file; never more than some rows of it are in memory."""
    name = f"turns-{datetime.now(UTC):%Y%m%d-%H%M%S}.csv"
    return StreamingHttpResponse(
        _lines(turns),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


async def _lines(turns: QuerySet[Turn]) -> AsyncIterator[bytes]:
    yield b"\xef\xbb\xbf" + _line(COLUMNS)  # the mark by which Excel knows UTF-8
    async for turn in turns.aiterator(chunk_size=CHUNK_ROWS):  # of models: Django's of values asks in the event loop
        yield _line(harmless(_text(getattr(turn, column))) for column in COLUMNS)


def _line(cells: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return "" if value is None else str(value)


def harmless(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULAS) else cell

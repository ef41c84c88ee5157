"""Turns as CSV: streamed, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from channels.db import database_sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from relay.models import Turn

COLUMNS: Final = tuple(field.name for field in Turn._meta.fields if field.name != "id")
CHUNK_ROWS: Final = 50
# A spreadsheet runs a cell that starts with one of these (OWASP, "CSV Injection"): a cell of ours, or one that it sees
# because it takes other signs for the end of a cell. Blanks and quotes before it do not count.
_FORMULAS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BLANKS: Final = re.compile(r'[\s"]*')
_ENDS: Final = re.compile(r"([;\t\r\n]+)")


def as_csv(turns: QuerySet[Turn]) -> StreamingHttpResponse:
    """Answer with a file; never more than some rows of it are in memory.

    The rows are chosen now and read by their keys, chunk by chunk: a cursor of the server's would end with its
    transaction, and behind PgBouncer the next chunk may go over another connection.
    """
    keys = array("q", turns.values_list("pk", flat=True))
    name = f"turns-{datetime.now(UTC):%Y%m%d-%H%M%S}.csv"
    return StreamingHttpResponse(
        _lines(keys),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


async def _lines(keys: Sequence[int]) -> AsyncIterator[bytes]:
    yield b"\xef\xbb\xbf" + _line(COLUMNS)  # the mark by which Excel knows UTF-8
    for start in range(0, len(keys), CHUNK_ROWS):
        for turn in await database_sync_to_async(_read)(keys[start : start + CHUNK_ROWS]):
            yield _line(harmless(_text(getattr(turn, column))) for column in COLUMNS)


def _read(keys: Sequence[int]) -> list[Turn]:
    """Read turns in the order of their keys; some may have been erased meanwhile."""
    found = Turn.objects.in_bulk(keys)
    return [found[key] for key in keys if key in found]


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
    safe = "".join(_harmless_part(part) for part in _ENDS.split(cell))
    return f"'{safe}" if cell.startswith(("\t", "\r", "\n")) else safe


def _harmless_part(part: str) -> str:
    blanks = _BLANKS.match(part)
    end = blanks.end() if blanks is not None else 0
    return f"{part[:end]}'{part[end:]}" if part.startswith(_FORMULAS, end) else part

"""What tests of a whole run share: entered where it is needed first, stopped at the end (``conftest``)."""

from contextlib import ExitStack
from typing import Final

SHARED: Final = ExitStack()

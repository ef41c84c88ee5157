"""The frames that servers write themselves."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from relay.server.data_frames import BINARY, TEXT, data_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frame_is_what_an_independent_implementation_writes(opcode, size):
    payload = b"x" * size
    assert data_frame(opcode, payload) == Frame(Opcode(opcode), payload).serialize(mask=False)

"""The memory log gives back the places of trimmed frames: a session that lasts does not grow."""

import pytest

from relay.layers.memory.log import Log
from relay.protocol import frames
from relay.protocol.cursor import Cursor


@pytest.mark.parametrize("max_frames", [1, 10, 1_500])
def test_places_of_trimmed_frames_are_given_back(max_frames):
    log, places = Log("E", max_frames=max_frames, max_bytes=1_000_000), []
    for _ in range(10_000):
        log.append(frames.token("t", "a"))
        places.append(len(log._frames))
    assert max(places) <= max(1_024, max_frames) + max_frames
    assert [frame.offset for frame in log.after(Cursor("E", 10_000 - max_frames), 3)] == list(
        range(10_001 - max_frames, min(10_004 - max_frames, 10_001))
    )

"""Session layers: Channels channel layers that also keep each session's log, queue, lease and state."""

"""The contract of session layers, over every backend: the suite that ``relay.testing`` offers to others."""

from relay.testing.contract import *  # noqa: F403

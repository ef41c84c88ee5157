"""How property tests choose their examples.

In CI they are the same in each run, so that no run fails by luck. At home they are random, and beside `make soak` they
are random and many more: there new cases are found, and each becomes an `@example`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import hypothesis

PROFILES = {
    "home": {},
    "ci": {"derandomize": True, "database": None},
    "long": {"max_examples": 1_000, "print_blob": True},
}
_PATIENT = {  # a machine that stands still for a moment is no slow test
    "deadline": None,
    "derandomize": False,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}


def profile_name(environment: Mapping[str, str] = os.environ) -> str:
    """Which profile an environment asks for."""
    return environment.get("HYPOTHESIS_PROFILE") or ("ci" if environment.get("CI") else "home")


def load_profile() -> None:
    """Let every property test of this run go by the profile; called before any is imported."""
    for name, options in PROFILES.items():
        hypothesis.settings.register_profile(
            name, hypothesis.settings.get_profile("default"), **{**_PATIENT, **options}
        )
    hypothesis.settings.load_profile(profile_name())


def examples(count: int, **options: Any) -> hypothesis.settings:
    """Settings of a test with its own number of examples, where others have a hundred by the profile in force."""
    return hypothesis.settings(max_examples=hypothesis.settings().max_examples * count // 100, **options)

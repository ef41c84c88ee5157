"""The Chromium that the browser tests drive: one that is installed, or else Playwright's own.

``python -m tests.browser.chromium`` prints its path, or fails when there is none.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page whose response a test has changed counts as public, and then may not reach loopback.
    "--disable-features=LocalNetworkAccessChecks",
)


def installed() -> str | None:
    """The path of a Chromium that ``CHROMIUM`` or the search path names."""
    names = filter(None, (os.environ.get("CHROMIUM"), *NAMES))
    return next(filter(None, map(shutil.which, names)), None)


def main() -> int:
    path = installed()
    if path is None:
        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    if not Path(path).exists():
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/bin/sh
# The browser tests drive a Chromium that is installed already, or Debian's, or else Playwright's own.
set -eu
bin=${VENV:-.venv}/bin

for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if "$bin/python" -m tests.browser.chromium >/dev/null 2>&1; then exit 0; fi

echo "No Chromium found: installing one for the browser tests."
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
"$bin/python" -m playwright install chromium ||
    echo "No Chromium could be installed: the browser tests will be skipped."

#!/bin/sh
# The browser tests drive Debian's headless Chromium, which opens a page with less than half the work of the whole
# browser; or else a Chromium or Chrome that is installed already, Debian's, or Playwright's own.
set -eu
bin=${VENV:-.venv}/bin

is_found() { command -v "$1" >/dev/null 2>&1; }
is_any_found() { "$bin/python" -m tests.browser.chromium >/dev/null 2>&1; }
can_install() { is_found apt-get && [ "$(id -u)" = 0 ] && [ -n "$(apt-cache madison "$1")" ]; }
install() { can_install "$1" && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null; }

if is_found "${CHROMIUM:-chromium-headless-shell}"; then exit 0; fi
if ! is_any_found; then
    echo "No Chromium found; installing it for the browser tests."
    if is_found apt-get && [ "$(id -u)" = 0 ]; then apt-get update -qq; fi
fi
if install chromium-headless-shell || is_any_found || install chromium; then exit 0; fi
"$bin/python" -m playwright install chromium ||
    echo "Chromium could not be installed; the browser tests will be skipped."

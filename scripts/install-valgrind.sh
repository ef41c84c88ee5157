#!/bin/sh
# One test counts instructions with valgrind's callgrind.
set -eu

if command -v valgrind >/dev/null 2>&1; then exit 0; fi

echo "No valgrind found; installing it for the tests."
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq valgrind >/dev/null && exit 0
fi
echo "valgrind could not be installed. Install your system's package; the test that needs it fails until then."

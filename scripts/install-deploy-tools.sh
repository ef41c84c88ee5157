#!/bin/sh
# The tests of deploy/ drive real proxies and a real Prometheus, and ask systemd's linter and compose: those that are
# installed already, or Debian's.
set -eu

is_installed() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

missing=""
is_installed nginx || missing="$missing nginx-light"
is_installed caddy || missing="$missing caddy"
is_installed haproxy || missing="$missing haproxy"
is_installed promtool || missing="$missing prometheus"
is_installed openssl || missing="$missing openssl"
is_installed systemd-analyze || missing="$missing systemd"
is_installed docker-compose || missing="$missing docker-compose"
if [ -z "$missing" ]; then exit 0; fi

echo "Installing for the tests of deploy/:$missing"
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # so that no server is started
    # shellcheck disable=SC2086 # several words
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "They could not be installed; tests that need them will be skipped. To run those tests, install the tools yourself."

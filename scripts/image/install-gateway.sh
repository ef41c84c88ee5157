#!/bin/sh
# Builds the gateway's wheel, and installs it for the environment of make-venv.sh into a folder that is copied over it.
# usage: install-gateway.sh VENV SOURCE FOLDER [PYTHON]
set -eu

venv=$1
source=$2
folder=$3
python=${4:-python3}

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools/venv"
pip() { "$tools/venv/bin/pip" --disable-pip-version-check --quiet "$@"; }
pip wheel --no-deps --wheel-dir "$tools/wheel" "$source"
pip --python "$venv/bin/python" install --no-deps --no-index --prefix "$folder" "$tools"/wheel/*.whl

#!/bin/sh
# Installs what the gateway needs, and nothing else, into a new virtual environment.
# usage: make-venv.sh FOLDER [REQUIREMENTS [PYTHON]]
set -eu

folder=$1
requirements=${2:-requirements.txt}
python=${3:-python3}

"$python" -m venv "$folder"
"$folder/bin/pip" install --disable-pip-version-check --quiet --only-binary :all: -r "$requirements"
"$folder/bin/pip" check --disable-pip-version-check
# Nothing is installed into an image that runs.
"$folder/bin/pip" uninstall --disable-pip-version-check --quiet --yes pip

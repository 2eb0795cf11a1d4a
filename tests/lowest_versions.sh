#!/usr/bin/env bash
# The smoke tests at the lowest versions that requirements.txt allows, in an environment of their own.
#
#     tests/lowest_versions.sh [PYTHON]      PYTHON: makes the environment (3.11 has all of them)
set -euo pipefail
cd "$(dirname "$0")/.."
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT

"${1:-python}" -m venv "$environment"
began=$SECONDS
# numpy>=2.0,<3 becomes numpy==2.0.*
sed -E 's/>=([0-9.]+),.*/==\1.*/' requirements.txt > "$environment/lowest.txt"
"$environment/bin/pip" install -q -r "$environment/lowest.txt" 'pytest>=9,<10' 'pytest-xdist>=3.8,<4'
echo "installed in $((SECONDS - began)) s:" $("$environment/bin/pip" freeze | grep -iE '^(tensorflow|keras|tensorboard|numpy|pillow|scikit-image|scipy|matplotlib|polars|safetensors)==')

PYTHONPATH=$PWD TF_CPP_MIN_LOG_LEVEL=3 "$environment/bin/python" -m pytest -q -n auto --dist load -m smoke tests/test_smoke.py

#!/usr/bin/env bash
# The tests of the web page with Gradio and Chromium, in an environment of their own: Gradio keeps Pillow
# below the version that the other tests take.
#
#     tests/page_check.sh [PYTHON]      PYTHON: makes the environment
set -euo pipefail
cd "$(dirname "$0")/.."
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT

"${1:-python}" -m venv "$environment"
"$environment/bin/pip" install -q -e '.[demo]' 'pytest>=9,<10' 'pytest-xdist>=3.8,<4' 'selenium>=4.30,<5'
PYTHONPATH=$PWD TF_CPP_MIN_LOG_LEVEL=3 "$environment/bin/python" -m pytest -q tests/test_served.py tests/test_web_page.py

#!/usr/bin/env bash
# The archives of a release, from what git would commit: the sdist, and of it the wheel, their contents
# looked at. Then the wheel, as a stranger uses it: installed (not editable) into a fresh environment,
# run in an empty folder and in one with a user's own recipes and key formats. Then the image.
#
#     tests/wheel_check.sh [PYTHON]      PYTHON: one whose environment holds the dependencies and the
#                                        extra release
#
# The fresh environment takes only the wheel; TensorFlow and the rest are read from PYTHON's own
# site-packages, which saves their minutes of installation. A .pth file names that folder, and Python
# runs no .pth files inside a folder so named, so an editable install there stays out of the way.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "$(command -v "${1:-python}")")
unset PYTHONPATH
export TF_CPP_MIN_LOG_LEVEL=3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A copy, because setuptools keeps what it built before in build/ and would pack files long gone.
mkdir "$work/source" "$work/empty" "$work/users"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  [ ! -e "$file" ] || printf '%s\0' "$file"
done | tar --null -cf - -T - | tar -xf - -C "$work/source"
(cd "$work/source" && find . -type f | cut -c3-) > "$work/files.txt" # before anything is built there
"$python" -m build -o "$work" "$work/source" > "$work/build.txt" 2>&1 || { cat "$work/build.txt"; exit 1; }
"$python" -m twine check --strict "$work"/tfrecon-*
"$python" tests/archives.py "$work/files.txt" "$work"/tfrecon-*.whl "$work"/tfrecon-*.tar.gz
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-deps "$work"/tfrecon-*.whl
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
  "$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
export PATH="$work/venv/bin:$PATH"
cd "$work/empty" # in the checkout Python would import from it

# Nothing of ours but tfrecon is at the top of what was installed.
python - <<'EOF'
import importlib.metadata, sys
import tfrecon
assert tfrecon.__file__.startswith(sys.prefix), tfrecon.__file__
files = importlib.metadata.files("tfrecon")
tops = {path.parts[0] for path in files if path.suffix != ".pyc" and ".." not in path.parts}
assert {top for top in tops if not top.endswith(".dist-info")} == {"tfrecon"}, tops
for name in ("data_pipelines", "kaggle_submission", "configs"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} is installed as a package of its own")
EOF

# Two photos with the mask of what is damaged in them.
python - "$work" <<'EOF'
import sys
from pathlib import Path
import numpy as np
from PIL import Image
random = np.random.default_rng(0)
for name in ("one", "two"):
    photo, mask = random.integers(0, 256, (70, 90, 3), np.uint8), np.zeros((70, 90), np.uint8)
    mask[10:26, 20:36] = 255
    photo[mask > 0] = 0
    for folder, pixels in (("photos", photo), ("masks", mask)):
        Path(sys.argv[1], folder).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(Path(sys.argv[1], folder, f"{name}.png"))
EOF

small=(--steps 2 --set data.image_size=64 --set 'data.extra=[]' --set 'data.damage={name = "boxes", size = 16}'
  --set model.discriminator_filters=4 --set fit.steps_per_epoch=2)

free() {  # what comes along restores a photo, and fills a masked one
  tfrecon reconstruct "$work/photos/one.png" -o restored.png
  tfrecon reconstruct "$work/photos/one.png" -o filled.png --mask "$work/masks/one.png"
  [ -s restored.png ] && [ -s filled.png ]
}

life() {  # a run from its configuration's name to restored photos
  tfrecon fit --config pix2pix/demo "${small[@]}"
  tfrecon evaluate checkpoints/pix2pix_demo --no-slow --limit 2
  tfrecon export checkpoints/pix2pix_demo
  tfrecon reconstruct exports/pix2pix_demo "$work/photos" restored --masks "$work/masks"
  [ "$(ls restored)" = $'one.png\ntwo.png' ]
}

# A user's own recipe and key format, and a recipe named like one of ours, which must not be run.
mkdir "$work/users/data_pipelines" "$work/users/kaggle_submission"
touch "$work/users/data_pipelines/__init__.py" "$work/users/kaggle_submission/__init__.py"
echo 'raise SystemExit("a user'"'"'s file hides ours")' > "$work/users/data_pipelines/demo.py"
cat > "$work/users/data_pipelines/mine.py" <<'EOF'
from tfrecon.data.sample import Sample
SPLITS = ("train", "val", "test", "submit")
def samples(root, split):
    return [Sample(path.name, input=path, boxes=((10, 20, 16, 16),)) for path in sorted(root.glob("*.png"))]
EOF
cat > "$work/users/kaggle_submission/mine.py" <<'EOF'
import polars as pl
HEADER = ("id", "value")
def ids(sample):
    return pl.Series([f"{sample.id}_{channel}" for channel in range(3)])
def values(sample, image):
    return image[10, 20]
EOF

(cd "$work/empty" && free && life) > "$work/empty.txt" 2>&1 &
first=$!
(
  cd "$work/users"
  life
  tfrecon submit checkpoints/pix2pix_demo --data mine --competition mine --root "$work/photos"
  [ "$(wc -l < kaggle_submission/pix2pix_demo.csv)" = 7 ]
) > "$work/users.txt" 2>&1 || { cat "$work/users.txt"; echo "the wheel fails in a user's folder" >&2; exit 1; }
wait "$first" || { cat "$work/empty.txt"; echo "the wheel fails in an empty folder" >&2; exit 1; }
image() {  # what the Dockerfile runs, by Docker, or without the image's system and its dependencies
  if docker info > /dev/null 2>&1; then
    docker build -q -t tfrecon-check "$work/source"
    docker run --rm tfrecon-check --version
    return
  fi
  echo "no Docker here: the commands of the Dockerfile in a fresh environment"
  "$python" -m venv "$work/image"
  sed -n 's/^RUN //p' "$work/source/Dockerfile" | sed "s|/wheels|$work/wheels|g" > "$work/image.sh"
  (cd "$work/source" && PATH="$work/image/bin:$PATH" PIP_NO_DEPS=1 EXTRA='' bash -eux "$work/image.sh")
}
image

grep -q "is not used" "$work/users.txt" || { echo "a hidden file of a user's is not told" >&2; exit 1; }
echo "the wheel passed: presets, fit, evaluate, export, reconstruct and submit"

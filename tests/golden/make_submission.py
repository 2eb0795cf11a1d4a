"""Writes tests/golden/submission.json, of the animals inpainting contest, and
denoising_dirty_documents.csv: ``python tests/golden/make_submission.py``.

Plain loops over each contest's description of its file, with no part of tfrecon: the photos are an
integer formula, and the model mirrors a photo left to right and keeps 64 levels, k/64, which
floats and six decimals both hold exactly. So every processor must give this very file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

PHOTOS = (
    # name, height, width, (y1, x1, y2, x2)
    ("Cat-Test (37).jpeg", 160, 192, (85, 2, 10, 117)),
    ("Dog-Test (4).png", 150, 208, (0, 133, 75, 1)),
)

PAGES = (("2", 3, 4), ("10", 2, 5))  # name, height, width


def pixel(number: int, row: int, column: int, channel: int) -> int:
    return (number * 17 + row * 7 + column * 13 + channel * 31 + row * column // 5) % 256


def in_boxes(row: int, column: int, boxes: tuple[int, int, int, int]) -> bool:
    y1, x1, y2, x2 = boxes
    return (y1 <= row < y1 + 75 and x1 <= column < x1 + 75) or (
        y2 <= row < y2 + 75 and x2 <= column < x2 + 75
    )


def rows() -> list[tuple[str, str]]:
    made = []
    for number, (name, _, width, boxes) in enumerate(PHOTOS):
        for box in (1, 2):
            y, x = boxes[2 * box - 2 : 2 * box]
            for row in range(y, y + 75):
                for column in range(x, x + 75):
                    for channel in (0, 1, 2):
                        mirrored = width - 1 - column
                        seen = not in_boxes(row, mirrored, boxes)
                        level = pixel(number, row, mirrored, channel) // 4 if seen else 0
                        key = f"{name}_box{box}_{row}_{column}_{channel}"
                        made.append((key, f"{level / 64:.6f}"))
    return made


def lines_of_pages() -> list[str]:
    made = ["id,value"]
    for number, (name, height, width) in enumerate(PAGES):
        for column in range(1, width + 1):
            for row in range(1, height + 1):
                level = pixel(number, row - 1, width - column, 0) // 4
                made.append(f"{name}_{row}_{column},{level / 64:.6f}")
    return made


def main() -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("filename_box_pixel", "value"))
    made = rows()
    writer.writerows(made)
    golden = {
        "sha256": hashlib.sha256(text.getvalue().encode()).hexdigest(),
        "lines": len(made) + 1,
        "first": ",".join(made[0]),
        "last": ",".join(made[-1]),
        "made_by": "python tests/golden/make_submission.py (Python's csv writer, no tfrecon)",
        "what": "two made-up photos, mirrored left to right, 64 levels; exact, no tolerance",
    }
    path = Path(__file__).with_name("submission.json")
    path.write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")
    pages = Path(__file__).with_name("denoising_dirty_documents.csv")
    pages.write_text("\n".join((*lines_of_pages(), "")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Put the last run into docs/benchmarks.md, with its pictures. Run by `make bench-publish`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from servers import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "benchmarks"
MARK = "<!-- From here on written by `make bench-publish`. -->\n"


def main() -> None:
    results = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "benches" / "results")
    text = (results / "results.md").read_text()
    head, mark, _ = PAGE.read_text().partition(MARK)
    if not mark:
        sys.exit(f"publish: {PAGE} has no line {MARK.strip()!r}")
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    for picture in results.glob("*.svg"):
        shutil.copy(picture, PICTURES / picture.name)
        text = text.replace(f"]({picture.name})", f"](benchmarks/{picture.name})")
    PAGE.write_text(f"{head}{mark}\n{text.rstrip()}\n")


if __name__ == "__main__":
    main()

"""Put the last run into docs/benchmarks.md, with its pictures. Run by `make bench-publish`.

With `--memory`, by `make bench-publish-memory`: the last run of `make bench-memory`.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from servers import ROOT

RESULTS = ROOT / "benches" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "benchmarks"
MARK = "<!-- From here on written by `make bench-publish`. -->\n"
MEMORY_MARK = "<!-- From here to the next chapter written by `make bench-publish-memory`. -->\n"
CHAPTER = re.compile(r"^# ", re.MULTILINE)


def main() -> None:
    if sys.argv[1:2] == ["--memory"]:
        return publish_memory(Path(sys.argv[2] if len(sys.argv) > 2 else RESULTS))
    results = Path(sys.argv[1] if len(sys.argv) > 1 else RESULTS)
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


def publish_memory(results: Path) -> None:
    """Replace what stands between the mark and the next chapter."""
    head, mark, rest = PAGE.read_text().partition(MEMORY_MARK)
    chapter = CHAPTER.search(rest)
    if not mark or chapter is None:
        sys.exit(f"publish: {PAGE} has no line {MEMORY_MARK.strip()!r} with a chapter after it")
    # The page has the heading already.
    text = (results / "memory.md").read_text().removeprefix("## Memory\n").strip()
    PAGE.write_text(f"{head}{mark}\n{text}\n\n{rest[chapter.start() :]}")


if __name__ == "__main__":
    main()

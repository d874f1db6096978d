"""Keep the top of a page as a picture of a few colours, such as docs/report.png. Needs Chromium on PATH.

python benchmarks/page_top.py runs/demo/report.html docs/report.png --height 1500
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image
from render_report import find_browser, run_browser  # type: ignore[import-not-found]

COLOURS, WIDTH = 64, 1280


def keep_top(page: Path, picture: Path, height: int) -> None:
    """Draw the first `height` pixels of a page, 1280 wide, and write them as a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "top.png"
        size = f"--window-size={WIDTH},{height}"
        run_browser(find_browser(), size, f"--screenshot={drawn}", page.resolve().as_uri())
        Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


def main() -> None:
    """Draw the page that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="an HTML page")
    parser.add_argument("picture", type=Path, help="where the PNG goes")
    parser.add_argument("--height", type=int, default=1075, help="pixels of the page that are kept")
    given = parser.parse_args()
    keep_top(given.page, given.picture, given.height)
    print(given.picture)


if __name__ == "__main__":
    main()

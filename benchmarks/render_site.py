"""Open every page of the documentation in headless Chromium, on a phone and on a wide screen.

Fails where a page is wider than its view, and where the browser logs anything to the console. One run of the browser
loads all pages one after the other into a frame.

    python benchmarks/render_site.py docs/_build/html
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from render_report import find_browser, run_browser  # type: ignore[import-not-found]

WIDTHS = (390, 1280)
_OUTER = """<!DOCTYPE html><body><script>
const wide = [];
let seen = 0;
function open(page, width) {
  return new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.style = `border:0;width:${width}px;height:800px`;
    frame.onload = () => setTimeout(() => {
      const needed = frame.contentDocument.documentElement.scrollWidth;
      seen += 1;
      if (needed > width) wide.push(`${page} needs ${needed} of ${width} pixels`);
      frame.remove();
      done();
    }, 30);
    frame.src = page;
    document.body.append(frame);
  });
}
(async () => {
  for (const page of PAGES) for (const width of WIDTHS) await open(page, width);
  document.title = JSON.stringify({seen, wide});
})();
</script>"""


def pages_of(site: Path) -> list[str]:
    """Return the addresses of the pages that people read, sources of modules left out."""
    found = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted(path.as_posix() for path in found if not path.parts[0].startswith("_"))


def look(site: Path) -> list[str]:
    """Return what is wrong with the pages below `site`, in sentences."""
    pages = pages_of(site)
    if not pages:
        sys.exit(f"no pages in {site}: make docs")
    outer = site / "_outer.html"
    outer.write_text(_OUTER.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS)), encoding="utf-8")
    options = ("--allow-file-access-from-files", "--virtual-time-budget=600000", "--window-size=1300,900")
    try:
        dom, logged = run_browser(find_browser(), *options, "--dump-dom", outer.resolve().as_uri())
    finally:
        outer.unlink()
    title = re.search(r"<title>(\{.*?\})</title>", dom)
    if title is None:
        return ["the browser did not come to the end of the pages"]
    found = json.loads(title[1])
    print(f"{found['seen']} views of {len(pages)} pages")
    return [*found["wide"], *logged]


def main() -> int:
    """Look at the site that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder that `make docs` wrote")
    wrong = look(parser.parse_args().site)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

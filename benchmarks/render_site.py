"""Open every page of the documentation in headless Chromium, on a phone and on a wide screen.

Fails where a page is wider than its view, where the browser logs anything to the console, and where axe-core finds a
violation. One run of the browser loads all pages one after the other into a frame; axe-core examines the pages that
are written by hand, and one of each kind that is generated, light and dark.

    python benchmarks/render_site.py docs/_build/html
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from _axe import axe_source, examine, lines_of  # type: ignore[import-not-found]
from render_report import find_browser, run_browser, view_options  # type: ignore[import-not-found]

WIDTHS = (390, 1280)
THEME = {"search.html", "genindex.html", "py-modindex.html"}
"""Pages that Sphinx and the theme write alone."""
_LOCAL = ("--allow-file-access-from-files", "--virtual-time-budget=600000")
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
    try:
        dom, logged = run_browser(
            find_browser(), *_LOCAL, "--window-size=1300,900", "--dump-dom", outer.resolve().as_uri()
        )
    finally:
        outer.unlink()
    title = re.search(r"<title>(\{.*?\})</title>", dom)
    if title is None:
        return ["the browser did not come to the end of the pages"]
    found = json.loads(title[1])
    print(f"{found['seen']} views of {len(pages)} pages")
    return [*found["wide"], *logged]


def examined(pages: list[str]) -> list[str]:
    """Return the pages for axe-core: those written by hand, and the first two of each generated folder."""
    kinds: dict[str, list[str]] = {}
    for page in pages:
        kinds.setdefault(page.rpartition("/")[0], []).append(page)
    return [
        page
        for folder, found in kinds.items()
        for page in (found[:2] if folder.startswith("generated/") else found)
        if page not in THEME
    ]


def violations(site: Path) -> list[str]:
    """Return what axe-core finds on the pages below `site`, a line each."""
    found = []
    for name in examined(pages_of(site)):
        page = (site / name).resolve()
        for dark in (False, True):
            options = (*_LOCAL, *view_options(WIDTHS[-1], 900, dark), "--dump-dom")
            try:
                # The copy lies beside the page, whose styles it needs.
                answer = examine(page, page.parent, lambda copy, given=options: run_browser(
                    find_browser(), *given, copy.as_uri())[0])  # fmt: skip
            finally:
                (page.parent / "axe.html").unlink(missing_ok=True)
            found += [f"{name}{' (dark)' if dark else ''}: {line}" for line in lines_of(answer)]
    return found


def main() -> int:
    """Look at the site that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder that `make docs` wrote")
    site = parser.parse_args().site
    try:
        axe_source()
    except FileNotFoundError as error:
        sys.exit(str(error))
    wrong = [*look(site), *violations(site)]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Open reports in headless Chromium and look at them: wide and phone, light, dark and printed, and with axe-core.

Writes one PNG per view and a PDF of the print, and fails if the browser logs anything to the console (a refused
resource, a broken style), if the page is wider than the view, or if axe-core finds a violation of its rules (WCAG 2
and its best practices), with every fold open. Needs a `chromium` (or `google-chrome`) on PATH and the package
`axe-playwright-python`, of which only the script is used.

    python benchmarks/render_report.py runs/demo/report.html fairness.html --out pictures
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _axe import axe_source, examine, lines_of  # type: ignore[import-not-found]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VIEWS = {
    "wide": (1280, False),
    "wide-dark": (1280, True),
    "phone": (390, False),
    "phone-dark": (390, True),
}
MOST_PIXELS = 16_000
"""Height of a picture: what is taller the browser does not draw."""
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
_MEASURE = """<!DOCTYPE html><body style="margin:0"><iframe id="page" style="border:0;width:{width}px;height:800px"
srcdoc="{source}"></iframe><script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const root = frame.contentDocument.documentElement;
  document.title = JSON.stringify({{width: root.scrollWidth, height: root.scrollHeight}});
}};
</script>"""


def find_browser() -> str:
    """Return the first browser on PATH; exits with a remedy where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on PATH: install Chromium (apt-get install chromium)")
    return found


def run_browser(browser: str, *options: str) -> tuple[str, list[str]]:
    """Run the browser once with a fresh profile; return its output and what it logged to the console."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [browser, *_QUIET, f"--user-data-dir={profile}", "--enable-logging=stderr", *options],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    return done.stdout, re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr)


def measure(browser: str, page: Path, width: int) -> dict[str, int]:
    """Return how wide and tall the page is when it is given `width` pixels."""
    source = page.read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
    # The frame takes over the page's own content policy but needs no script of its own; the outer page measures it.
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder) / "outer.html"
        outer.write_text(_MEASURE.format(width=width, source=source), encoding="utf-8")
        dom, _ = run_browser(browser, "--dump-dom", f"--window-size={max(width, 600)},800", outer.as_uri())
    found = re.search(r"<title>(\{.*?\})</title>", dom)
    if found is None:
        raise RuntimeError("the browser did not load the page")
    size: dict[str, int] = json.loads(found[1])
    return size


def view_options(width: int, height: int, dark: bool) -> list[str]:
    """Return the options that give the browser a window and a colour scheme."""
    return [f"--window-size={width},{height}", *(["--blink-settings=preferredColorScheme=0"] if dark else [])]


def check(browser: str, page: Path, out: Path) -> list[dict[str, Any]]:
    """Take every picture of `page` and examine every view; return one row per view."""
    rows: list[dict[str, Any]] = []
    for view, (width, dark) in VIEWS.items():
        size = measure(browser, page, width)
        picture = out / f"{page.stem}-{view}.png"
        options = view_options(width, min(size["height"], MOST_PIXELS), dark)
        _, logged = run_browser(browser, *options, f"--screenshot={picture}", page.as_uri())
        rows.append(
            {
                "page": page.name,
                "view": view,
                **size,
                "fits": size["width"] <= width,
                "console": logged,
                "picture": str(picture),
                "axe": examine_view(browser, page, view_options(width, 800, dark)),
            }
        )
    pdf = out / f"{page.stem}-print.pdf"
    _, logged = run_browser(browser, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    printed = {"page": page.name, "view": "print", "width": 0, "height": 0, "fits": True, "console": logged}
    rows.append({**printed, "picture": str(pdf), "axe": {"violations": [], "incomplete": []}})
    return rows


def examine_view(browser: str, page: Path, options: list[str]) -> dict[str, Any]:
    """Run axe-core on the page in a window of these options."""

    def dump(copy: Path) -> str:
        # Virtual time lets the examination, which waits between its rules, come to its end before the page is read.
        return run_browser(browser, *options, "--virtual-time-budget=120000", "--dump-dom", copy.as_uri())[0]

    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = examine(page, Path(folder), dump)
        return found


def main() -> int:
    """Render the reports named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", help="pages of reports (.html)")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder for the pictures and render.json")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    browser = find_browser()
    try:
        axe_source()
    except FileNotFoundError as error:
        sys.exit(str(error))
    rows = [row for report in given.reports for row in check(browser, report.resolve(), given.out.resolve())]
    (given.out / "render.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        bad = [*row["console"], *([] if row["fits"] else ["wider than the view"]), *lines_of(row["axe"])]
        size = f"{row['width']:>5} x {row['height']:<6}"
        print(f"{row['page']} {row['view']:<11} {size} {'BAD' if bad else 'ok'}  {row['picture']}")
        for line in bad:
            print(f"    {line}")
    return 0 if all(is_good(row) for row in rows) else 1


def is_good(row: dict[str, Any]) -> bool:
    """Say whether a view has nothing to complain of."""
    return bool(row["fits"] and not row["console"] and not row["axe"]["violations"])


if __name__ == "__main__":
    sys.exit(main())

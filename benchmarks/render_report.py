"""Open a report in headless Chromium and look at it: wide and phone, light, dark and printed.

Writes one PNG per view and a PDF of the print, and fails if the browser logs anything to the console (a refused
resource, a broken style) or if the page is wider than the phone. Needs a `chromium` (or `google-chrome`) on PATH.

    python benchmarks/render_report.py runs/demo/report.html --out pictures
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

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VIEWS = {
    "wide": (1280, False),
    "wide-dark": (1280, True),
    "phone": (390, False),
    "phone-dark": (390, True),
}
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


def check(browser: str, page: Path, out: Path) -> list[dict[str, object]]:
    """Take every picture of `page`; return one row per view."""
    rows: list[dict[str, object]] = []
    for view, (width, dark) in VIEWS.items():
        size = measure(browser, page, width)
        picture = out / f"{page.stem}-{view}.png"
        options = [f"--window-size={width},{size['height']}", f"--screenshot={picture}"]
        if dark:
            options.append("--blink-settings=preferredColorScheme=0")
        _, logged = run_browser(browser, *options, page.as_uri())
        rows.append({"view": view, **size, "fits": size["width"] <= width, "console": logged, "picture": str(picture)})
    pdf = out / f"{page.stem}-print.pdf"
    _, logged = run_browser(browser, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    rows.append({"view": "print", "width": 0, "height": 0, "fits": True, "console": logged, "picture": str(pdf)})
    return rows


def main() -> int:
    """Render the report named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="the page of a report (.html)")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder for the pictures and render.json")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = check(find_browser(), given.report.resolve(), given.out.resolve())
    (given.out / "render.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        state = "ok" if row["fits"] and not row["console"] else f"BAD {row['console'] or 'wider than the view'}"
        print(f"{row['view']:<11} {row['width']:>5} x {row['height']:<6} {state}  {row['picture']}")
    return 0 if all(row["fits"] and not row["console"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

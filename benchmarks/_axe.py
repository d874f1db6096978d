"""Accessibility of a page by axe-core (Deque), run by the browser on a copy of the page.

The page itself runs no script; the copy is without its content policy, has every fold open, so that what is folded is
looked at too, and ends with axe-core, which the PyPI package `axe-playwright-python` carries (only its script is used).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

PACKAGE = "axe-playwright-python"
_RUN = """
document.querySelectorAll("details").forEach(one => { one.open = true; });
axe.run(document, {resultTypes: ["violations", "incomplete"]}).then(found => {
  const rows = kind => found[kind].map(rule => ({
    rule: rule.id, impact: rule.impact, help: rule.help,
    nodes: rule.nodes.slice(0, 5).map(node => ({target: node.target.join(" "), summary: node.failureSummary})),
    count: rule.nodes.length,
  }));
  const out = document.createElement("pre");
  out.id = "axe-found";
  out.textContent = JSON.stringify({
    engine: found.testEngine.version, passes: found.passes.length,
    violations: rows("violations"), incomplete: rows("incomplete"),
  });
  document.documentElement.replaceChildren(out);
});
"""
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def axe_source() -> str:
    """Return the script of axe-core.

    Raises
    ------
    FileNotFoundError
        The package is not installed.
    """
    try:
        paths = files(PACKAGE) or []
    except PackageNotFoundError:
        paths = []
    found = next((path for path in paths if path.name == "axe.min.js"), None)
    if found is None:
        raise FileNotFoundError(f"axe.min.js: install {PACKAGE} (pip install --no-deps {PACKAGE}, or `make look`)")
    return Path(str(found.locate())).read_text(encoding="utf-8")


def with_axe(page: str, source: str) -> str:
    """Return a page that examines itself once it is loaded and puts what it found in its own place."""
    open_page = _POLICY.sub("", page)
    scripts = f"<script>{source}</script><script>{_RUN}</script>"
    head, body, tail = open_page.rpartition("</body>")
    return f"{head}{scripts}{body}{tail}"


def examine(page: Path, folder: Path, dump: Callable[[Path], str]) -> dict[str, Any]:
    """Run axe-core on a page.

    Parameters
    ----------
    page
        The page.
    folder
        Where the copy may lie.
    dump
        Loads a page in the browser, waits for its scripts, and returns what became of it.

    Returns
    -------
    dict
        ``engine``, ``passes``, ``violations`` and ``incomplete`` (what axe-core could not decide), each a list of
        rules with the places that break them.

    Raises
    ------
    RuntimeError
        The browser did not come to an end.
    """
    copy = folder / "axe.html"
    copy.write_text(with_axe(page.read_text(encoding="utf-8"), axe_source()), encoding="utf-8")
    found = re.search(r'<pre id="axe-found">(.*?)</pre>', dump(copy), re.DOTALL)
    if found is None:
        raise RuntimeError(f"axe-core gave no answer on {page}")
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


def lines_of(found: dict[str, Any]) -> list[str]:
    """Write the violations for a terminal: the rule, then the first places."""
    lines = []
    for rule in found["violations"]:
        lines.append(f"{rule['impact']}: {rule['help']} ({rule['rule']}, {rule['count']} places)")
        for node in rule["nodes"]:
            reason = " ".join(str(node["summary"]).split())
            lines.append(f"  {node['target']}: {reason}")
    return lines

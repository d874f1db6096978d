"""``python -m tests.fuzz``: damage inputs for some minutes and print what must not happen.

Every finding has a number; ``--subject NAME --case NUMBER`` with the same seed makes it again and keeps the files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.harness import Finding, Server, cases
from tests.fuzz.subjects import SUBJECTS


def main() -> int:
    """Take turns between the subjects until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="for how long")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other cases")
    parser.add_argument("--subject", action="append", choices=[one.name for one in SUBJECTS], help="only this kind")
    parser.add_argument("--case", type=int, action="append", help="only this number; the damaged files are kept")
    parser.add_argument("--work", type=Path, help="a folder to work in, kept")
    options = parser.parse_args()
    chosen = [one for one in SUBJECTS if not options.subject or one.name in options.subject]
    work = (options.work or Path(tempfile.mkdtemp(prefix="fuzz-"))).resolve()
    findings: list[Finding] = []
    counts = dict.fromkeys((one.name for one in chosen), 0)
    with Server() as server:
        turns = {one.name: cases(one, server, work, options.seed, options.case) for one in chosen}
        deadline = time.monotonic() + options.seconds
        while turns and time.monotonic() < deadline:
            for name in list(turns):
                try:
                    finding = next(turns[name])
                except StopIteration:
                    del turns[name]
                    continue
                counts[name] += 1
                if finding is not None:
                    findings.append(finding)
                    print(finding, flush=True)
                    if options.case:
                        print(finding.text)
    print()
    for name, count in counts.items():
        print(f"{name:20} {count:5} cases  {sum(f.subject == name for f in findings):3} findings")
    print(f"{sum(counts.values())} cases, {len(findings)} findings, seed {options.seed}; files in {work}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

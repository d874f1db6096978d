"""Runs commands, each in a process of its own that begins with everything imported: some twenty a second.

A line of JSON on standard input names a command; a line on standard output says how it ended. A command that takes too
long or too much memory is ended and said to be so.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MEMORY = 6 << 30


def _import_all() -> None:
    # What a command imports on its way is imported here once; importing again in every child would take seconds.
    import soundfile  # noqa: F401
    import torch

    import audio_ssl.commands
    import audio_ssl.data.loader
    import audio_ssl.fairness.audit
    import audio_ssl.features.extract
    import audio_ssl.pretrain.run
    import audio_ssl.probing.predicting
    import audio_ssl.probing.run
    import audio_ssl.report.build
    import audio_ssl.units.run  # noqa: F401

    torch.set_num_threads(1)


def _child(argv: list[str], cwd: str, out: str) -> None:
    from audio_ssl import __main__

    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(out) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(cwd)
    status = 1
    try:
        __main__.main(argv)
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(request["argv"], request["cwd"], request["out"])
    watch = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([watch], [], [], request["limit"])
        if not ended:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(watch)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "seconds": time.monotonic() - started, "hung": not ended}


def main() -> None:
    """Serve until standard input ends."""
    _import_all()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()

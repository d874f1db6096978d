"""``audio-ssl`` and ``python -m audio_ssl``: run one command, turn errors into exit statuses.

0 done; 2 something the user can mend, said in one line without a traceback; 75 stopped by a signal with everything
finished so far on the disk, run again to go on.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

EXIT_USER_ERROR = 2
EXIT_STOPPED = 75


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    from cyclopts import CycloptsError

    from audio_ssl.base.errors import StoppedBySignal, UserError
    from audio_ssl.base.launch import is_leader
    from audio_ssl.commands.app import app

    try:
        app(list(argv), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except UserError as error:
        return _fail(f"error: {error}", EXIT_USER_ERROR, said=error.said)
    except CycloptsError as error:
        return _fail(f"error: {error}\nSee `audio-ssl --help`.", EXIT_USER_ERROR)
    except StoppedBySignal as error:
        return _fail(f"stopped: {error}", EXIT_STOPPED, said=error.said)
    except KeyboardInterrupt:
        text = "stopped: what was finished is on the disk; run the same command again to go on"
        return _fail(text, EXIT_STOPPED, said=not is_leader(os.environ))
    except SystemExit as ended:
        # Of the command that installs the completion, where it cannot tell the shell; it has said so.
        return EXIT_USER_ERROR if ended.code else 0
    except BrokenPipeError:
        # The reader of our output went away (`audio-ssl list | head`); that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        said = _of_the_disk(error)
        if said is None:
            raise
        return _fail(f"error: {said}", EXIT_USER_ERROR)
    return 0


def _of_the_disk(error: Exception) -> str | None:
    """Return in one line what the disk refused outside of the places that know which file they write."""
    from audio_ssl.base.disk import REFUSALS, disk_error, number_of

    number = number_of(error)
    # A missing or unreadable file that no message names counts as a bug of this program.
    if number is None or number not in REFUSALS - {errno.ENOENT, errno.EIO}:
        return None
    # Of two names the second is the one asked for: a file is written under a temporary name and renamed.
    names = [getattr(error, name, None) for name in ("filename2", "filename")]
    known = [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)]
    if number in (errno.ENOSPC, errno.EDQUOT) and known:
        return str(disk_error(known[0], number))
    return ": ".join([*map(str, known[:1]), os.strerror(number)])


def _fail(message: str, status: int, said: bool = False) -> int:
    """Say why the program ends, unless another process of the job says it, and return its status."""
    from audio_ssl.base.launch import tell_launcher

    # A file name that is not UTF-8 must not break the very message that reports it.
    text = message.encode("utf-8", "backslashreplace").decode("utf-8")
    tell_launcher(os.environ, text)
    if not said:
        print(text, file=sys.stderr)
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Make SIGTERM unwind like Ctrl-C, so that temporary files are removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

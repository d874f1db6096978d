"""The command line: each function is one command that calls one stage.

Heavy packages are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

from audio_ssl.commands import evaluate, prepare, train, units

__all__ = ["evaluate", "prepare", "train", "units"]

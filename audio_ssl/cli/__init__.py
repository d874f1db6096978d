"""The command line: each function is one command that calls one stage.

Heavy packages are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

from audio_ssl.cli._app import app
from audio_ssl.cli.answers import fairness, probe, report, study
from audio_ssl.cli.data import audit, check, demo, list_, manifest, targets
from audio_ssl.cli.models import export, extract, pretrain

__all__ = [
    "app",
    "audit",
    "check",
    "demo",
    "export",
    "extract",
    "fairness",
    "list_",
    "manifest",
    "pretrain",
    "probe",
    "report",
    "study",
    "targets",
]

"""What a ledger keeps: everything, notes alone, or nothing but lines of the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from audio_ssl.data.ledger import ErrorLedger


def fill(ledger: ErrorLedger) -> None:
    ledger.record("a.wav", "empty file")
    ledger.note("b.wav", "its header is wrong")
    ledger.passed_over(Path("audio"), {".txt": 3})


@pytest.mark.parametrize(
    ("keep", "files", "logged"),
    [
        ("all", ["errors.jsonl", "notes.jsonl"], ["b.wav: its header", "audio: passed over 3"]),
        ("notes", ["notes.jsonl"], ["b.wav: its header"]),
        ("log", [], ["a.wav: empty file", "b.wav: its header", "audio: passed over 3"]),
    ],
)
def test_what_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, keep: str, files: list[str], logged: list[str]
) -> None:
    with caplog.at_level(logging.INFO):
        fill(ErrorLedger(tmp_path / "errors.jsonl", keep=keep))  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert len(caplog.messages) == len(logged)
    assert all(said.startswith(begin) for said, begin in zip(caplog.messages, logged, strict=True))

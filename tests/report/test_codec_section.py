from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import soundfile

from audio_ssl.report.build import build_report
from audio_ssl.report.language.training import NO_FILE, NOT_HELD_OUT
from tests.report.conftest import make_codec, make_run
from tests.report.test_build import read, text_of


def with_sound(folder: Path, held_out: bool = True) -> None:
    """Give a codec's folder two clips to listen to, one of which has lost a file."""
    heard = folder / "reconstructions"
    heard.mkdir()
    rows = []
    for number in range(2):
        row = {"id": f"<b>clip {number}</b>", "seconds": 0.1, "si_sdr": -3.25 + number, "mel_distance": 11.0}
        for what in ("original", "reconstruction"):
            row[what] = f"{number}_{what}.flac"
            soundfile.write(heard / str(row[what]), np.zeros(1600), 16000)
        rows.append(row)
    (heard / "1_original.flac").unlink()
    (heard / "clips.json").write_text(json.dumps({"held_out": held_out, "sample_rate": 16000, "clips": rows}))


def test_a_codec_is_shown_and_heard(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with_sound(run / "teachers" / "codec")
    out = build_report([run], tmp_path / "report.html")
    page = out.read_text(encoding="utf-8")
    text = text_of(read(out))
    assert (
        len(re.findall('<audio controls preload="metadata" aria-label="[^"]+" src="data:audio/flac;base64,', page)) == 3
    )
    assert NO_FILE in text
    assert "<b>clip" not in page
    for number in ("SI-SDR 4.0 dB", "mel distance 9.0 dB", "60 to 95 % of its 256 codes"):
        assert number in text
    assert "Codes in use on held-out audio" in text
    assert "−3.2 dB" in text
    assert NOT_HELD_OUT not in text
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["runs"][0]["teachers"][0]["reconstructions"]["clips"][0]["si_sdr"] == -3.25


def test_a_codec_alone_says_when_nothing_was_held_out(tmp_path: Path) -> None:
    make_codec(tmp_path / "codec")
    with_sound(tmp_path / "codec", held_out=False)
    out = build_report([tmp_path / "codec"], tmp_path / "report.html")
    assert NOT_HELD_OUT in text_of(read(out))

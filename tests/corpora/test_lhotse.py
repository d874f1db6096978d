import gzip
import json

import pytest

from audio_ssl.data.corpus import UserError, load_corpus


def read(root, split=None, **options):
    return list(load_corpus("lhotse").read(root, split, **options))


def cut(n, path="wav/a.wav", channels=(0,), **more):
    said = {"id": f"s{n}", "recording_id": "a", "start": 0.0, "duration": 2.0, "channel": 0, "text": f"text {n}"}
    said |= {"language": "en", "speaker": f"p{n}", "gender": "FM"[n % 2]}
    source = {"type": "file", "channels": list(channels), "source": path}
    recording = {"id": "a", "sources": [source], "sampling_rate": 16000, "num_samples": 96000, "duration": 6.0}
    place = {"id": f"cut-{n}", "start": 2.0 * n, "duration": 2.0, "channel": 0, "supervisions": [said]}
    whole = {**place, "recording": {**recording, "channel_ids": list(channels)}, "custom": {"snr": 20.5}}
    return {**whole, "type": "MonoCut", **more}


def make(root, write_audio):
    write_audio(root / "wav/a.wav", 6.0)
    write_audio(root / "wav/b.wav", 6.0)
    return lines(root / "cuts_dev.jsonl.gz", [cut(0), cut(1), cut(2, "wav/b.wav")])


def lines(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("given", ["file", "folder"])
def test_cuts_are_spans_of_their_recordings(tmp_path, write_audio, given):
    cuts = make(tmp_path, write_audio)
    clips = read(cuts if given == "file" else tmp_path, "valid")
    assert [(c.id, c.start, c.seconds, c.text, c.speaker, c.gender, c.language, c.split) for c in clips] == [
        ("cut-0", 0.0, 2.0, "text 0", "p0", "F", "en", "valid"),
        ("cut-1", 2.0, 2.0, "text 1", "p1", "M", "en", "valid"),
        ("cut-2", 4.0, 2.0, "text 2", "p2", "F", "en", "valid"),
    ]
    assert clips[0].path == str(tmp_path / "wav/a.wav")
    assert dict(clips[0].extra) == {"snr": 20.5}
    assert read(tmp_path, "train") == []


def test_audio_may_lie_elsewhere(tmp_path, write_audio):
    write_audio(tmp_path / "x/wav/a.wav", 6.0)
    cuts = lines(tmp_path / "cuts.jsonl", [cut(0)])
    assert [c.path for c in read(cuts, folder=str(tmp_path / "x"))] == [str(tmp_path / "x/wav/a.wav")]


def test_what_is_no_span_of_a_file_is_left_out(tmp_path, write_audio):
    write_audio(tmp_path / "wav/a.wav", 6.0)
    mixed = {"id": "m", "type": "MixedCut", "tracks": [{"cut": cut(0), "offset": 0.0}]}
    rows = [cut(0), mixed, cut(1, channels=(0, 1)), {**cut(1), "recording": None}, cut(4)]
    assert [c.id for c in read(lines(tmp_path / "cuts.jsonl", rows))] == ["cut-0"]


def test_wrong_files_are_explained(tmp_path):
    with pytest.raises(UserError, match=r"Cuts of lhotse: a \.jsonl or \.jsonl\.gz file is needed here"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"m\.jsonl:1: a cut needs `start`, `duration`"):
        read(lines(tmp_path / "m.jsonl", [{"id": "a", "path": "a.wav"}]))
    (tmp_path / "m.jsonl").unlink()
    whole = gzip.compress(json.dumps(cut(0)).encode() * 100)
    (tmp_path / "x.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"x\.jsonl\.gz: cannot be unpacked"):
        read(tmp_path)

import json

import pytest

from audio_ssl.data.corpus import UserError, load_corpus


def read(root, split=None, **options):
    return list(load_corpus("nemo").read(root, split, **options))


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make(root, write_audio):
    write_audio(root / "wav/a.wav", 5.0)
    write_audio(root / "wav/b.wav", 2.0)
    rows = [
        {"audio_filepath": "wav/a.wav", "offset": 0.0, "duration": 2.0, "text": "one"},
        {"audio_filepath": "wav/a.wav", "offset": 2.25, "duration": 1.5, "text": "two", "snr": 20.5},
        {"audio_filepath": "wav/b.wav", "duration": 2.0, "text": "three", "speaker_id": "s"},
    ]
    return lines(root / "test_manifest.json", rows)


@pytest.mark.parametrize("corpus", ["nemo", "table"])
def test_segments_are_parts_of_a_file(tmp_path, write_audio, corpus):
    manifest = make(tmp_path, write_audio)
    clips = list(load_corpus(corpus).read(manifest, None))
    assert [(c.id, c.start, c.seconds, c.text) for c in clips] == [
        ("wav/a.wav", 0.0, 2.0, "one"),
        ("wav/a.wav@2.25", 2.25, 1.5, "two"),
        ("wav/b.wav", 0.0, 2.0, "three"),
    ]
    assert clips[1].path == str(tmp_path / "wav/a.wav")
    assert dict(clips[1].extra) == {"snr": 20.5}


def test_splits_and_speakers(tmp_path, write_audio):
    make(tmp_path, write_audio)
    clips = read(tmp_path, "test")
    assert [(c.split, c.speaker) for c in clips] == [("test", None), ("test", None), ("test", "s")]
    assert read(tmp_path, "train") == []


def test_translations(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 2.0)
    row = {"audio_filepath": "a.wav", "source_lang": "en", "target_lang": "de"}
    rows = [
        {**row, "offset": n / 2, "duration": 0.5, **more}
        for n, more in enumerate(
            [
                {"text": "ja"},
                {"text": "yes", "answer": "ja"},
                {"target_lang": "en", "text": "", "answer": "yes"},
                {"answer": "na"},
            ]
        )
    ]
    clips = read(lines(tmp_path / "m.json", rows))
    assert [(c.text, c.translation, c.language) for c in clips] == [
        (None, "ja", "en"), ("yes", "ja", "en"), ("yes", None, "en"), (None, None, "en")
    ]  # fmt: skip


def test_spans_outside_the_file_are_left_out(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 2.0)
    rows = [{"audio_filepath": "a.wav", "offset": at, "duration": 1.0} for at in (0, 1, 1.5, -1, "x")]
    assert [c.start for c in read(lines(tmp_path / "m.json", rows))] == [0, 1]


def test_a_wrong_root_says_what_was_expected(tmp_path):
    with pytest.raises(UserError, match=r"A manifest of NeMo: a \.json or \.jsonl file is needed here"):
        read(tmp_path)

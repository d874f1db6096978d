import json
import re
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from audio_ssl.artifacts.clip_predictions import (
    BeatTime,
    ClipPrediction,
    NamedNumber,
    NamedProbability,
    NoteEvent,
    TimedLabel,
    iterate_clip_predictions,
)
from audio_ssl.artifacts.records import to_json
from audio_ssl.base.catalog import parts
from audio_ssl.base.errors import UserError
from audio_ssl.data.audio.formats import SUFFIXES
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.metrics.registry import get_metric
from audio_ssl.probing.format import (
    FOLDER,
    FormatTraits,
    encode,
    fitting,
    traits_of,
    why_not_format,
    write_own,
    write_shared,
)

HOURS = 3 * 3600.0


def predicted(task="asr", seconds=10.0, clip_id="a.wav", **answer):
    return ClipPrediction(id=clip_id, path=f"/x/{clip_id}", seconds=seconds, sample_rate=16000, task=task, **answer)


def labels(*rows, probability=0.5):
    return tuple(TimedLabel(start, end, label, probability) for start, end, label in rows)


def spoken(text, seconds=0.3, pause=0.1, start=0.0, length=None, unspaced=False):
    """Return a transcript whose words, or signs, follow each other evenly."""
    units = [*text] if unspaced else text.split()
    rows = [
        (round(start + i * (seconds + pause), 4), round(start + i * (seconds + pause) + seconds, 4))
        for i in range(len(units))
    ]
    end = rows[-1][1] if rows else 1.0
    return predicted(
        seconds=length or end, text=text, words=labels(*((*row, unit) for row, unit in zip(rows, units, strict=True)))
    )


JOY = (NamedProbability("joy, quiet", 0.75), NamedProbability("été", 0.25))
NOTES = (NoteEvent(0.5, 1.25, 60), NoteEvent(0.5, 0.75, 108, 100), NoteEvent(1.25, 1.5, 60))
EVERY = {
    "words": spoken("to be or not"),
    "text": predicted(text="to be"),
    "phones": predicted("phones", text="T UW", segments=labels((0.1, 0.2, "T"), (0.2, 0.4, "UW"))),
    "chords": predicted("chords", segments=labels((0.0, 2.5, "N"), (2.5, 10.005, "A#:min"))),
    "key": predicted("key", classes=(NamedProbability("F# minor", 0.75), NamedProbability("Bb major", 0.25))),
    "emotion": predicted("classification", classes=JOY),
    "tags": predicted("tagging", tags=(NamedProbability("slow", 0.75), NamedProbability("loud", 0.25))),
    "values": predicted("regression", values=(NamedNumber("arousal", -2.0), NamedNumber("valence", 0.5))),
    "other values": predicted("regression", values=(NamedNumber("bpm", 120.0),)),
    "beats": predicted("beats", beats=(BeatTime(0.5, None, 0.9), BeatTime(1.0, 1, 0.8), BeatTime(1.5, 2, 0.7))),
    "beats alone": predicted("beats", beats=(BeatTime(0.5), BeatTime(1.0))),
    "notes": predicted("notes", notes=NOTES),
    "vector": predicted("speaker_verification", embedding=(0.5, -0.25)),
    "no words": predicted(text="", words=(), tokens=()),
    "no beats": predicted("beats", beats=()),
    "no notes": predicted("notes", notes=()),
    "no chords": predicted("chords", segments=()),
    "no tags": predicted("tagging", tags=(NamedProbability("slow", 0.25),)),
}  # fmt: skip


@pytest.mark.parametrize("name", parts(FOLDER))
def test_a_format_holds_what_it_says_and_refuses_the_rest(name, tmp_path):
    traits = traits_of(name)
    assert type(traits) is FormatTraits
    assert traits.suffix.lower() == f".{name}"
    assert traits.suffix not in SUFFIXES or name == "mid", "predictions beside audio would be taken for it"
    for one in EVERY.values():
        why = why_not_format(name, one.answered)
        assert (why is None) == (not traits.fields or any(getattr(one, field) is not None for field in traits.fields))
        path = tmp_path / f"deep/er/x{traits.suffix}"
        if traits.shared:
            path.parent.mkdir(parents=True, exist_ok=True)
        if why is not None:
            with pytest.raises(UserError, match=re.escape(why)):
                write_shared(name, path, [one]) if traits.shared else write_own(name, path, one)
            assert not path.exists()
            continue
        write_shared(name, path, [one]) if traits.shared else write_own(name, path, one)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        path.unlink()


def test_a_package_that_is_missing_is_named_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr("audio_ssl.probing.format.find_spec", lambda package: None)
    why = "`mid` needs the package pretty_midi: pip install 'audio-ssl[corpora]'"
    assert why_not_format("mid", ["notes"]) == why
    with pytest.raises(UserError, match=re.escape(why)):
        write_own("mid", tmp_path / "x.mid", EVERY["notes"])
    assert why_not_format("jams", ["notes"]) is None


def test_what_fits_is_named():
    assert fitting(["beats"]) == ["beats", "jams", "json", "parquet"]
    assert why_not_format("srt", ["text"]) == (
        "`srt` needs words, but the predictions have text; formats that fit: jams, json, parquet, txt"
    )
    with pytest.raises(UserError, match="srt"):
        traits_of("srtt")


# --- CTM --------------------------------------------------------------------------------------------------------------


def read_ctm(path):
    """Parse lines as NIST's format says: file, channel, start, duration, word, confidence; `;;` is a comment."""
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        assert not line.startswith(";;")
        file, channel, start, duration, word, confidence = line.split(" ")
        assert re.fullmatch(r"\d+\.\d{3}", start)
        assert re.fullmatch(r"\d+\.\d{3}", duration)
        assert float(duration) > 0
        assert 0 <= float(confidence) <= 1
        rows.append((file, channel, float(start), float(duration), word, float(confidence)))
    return rows


def test_ctm_has_a_line_for_each_word_of_each_clip(tmp_path):
    path = tmp_path / "x.ctm"
    clips = [
        replace(spoken("ça va"), id="my take, 1%.wav"),
        EVERY["no words"],
        replace(EVERY["phones"], id=";;b"),
        predicted(text="late", seconds=HOURS, words=labels((HOURS - 0.5, HOURS + 0.01, "late"), probability=1 / 3)),
    ]
    write_shared("ctm", path, iter(clips))
    assert read_ctm(path) == [
        ("my%20take,%201%25.wav", "1", 0.0, 0.3, "ça", 0.5),
        ("my%20take,%201%25.wav", "1", 0.4, 0.3, "va", 0.5),
        ("%3B;b", "1", 0.1, 0.1, "T", 0.5),
        ("%3B;b", "1", 0.2, 0.2, "UW", 0.5),
        ("a.wav", "1", 10799.5, 0.5, "late", 0.3333),
    ]


def test_a_word_without_confidence_and_one_with_a_space_are_one_column_each(tmp_path):
    path = tmp_path / "x.ctm"
    write_shared("ctm", path, [predicted(text="a b", words=(TimedLabel(0.0, 1.0, "a\u00a0b"),))])
    assert path.read_text(encoding="utf-8") == "a.wav 1 0.000 1.000 a%C2%A0b\n"


def test_rounding_makes_no_words_overlap(tmp_path):
    path = tmp_path / "x.ctm"
    rows = labels(*((place / 8000, (place + 1) / 8000 + 0.01, "a") for place in range(0, 8000, 81)))
    write_shared("ctm", path, [predicted(text="a", words=rows)])
    read = read_ctm(path)
    assert len(read) == len(rows)
    ends = [round(start + duration, 3) for _, _, start, duration, *_ in read]
    assert all(end <= start for end, (_, _, start, *_) in zip(ends[:-1], read[1:], strict=True))


def test_a_file_that_fails_half_way_is_not_there(tmp_path):
    with pytest.raises(UserError, match="`ctm` needs words or segments, but the predictions have text") as failed:
        write_shared("ctm", tmp_path / "x.ctm", [spoken("a b"), EVERY["text"]])
    assert failed.value.where == "a.wav"
    assert list(tmp_path.iterdir()) == []


# --- segments and beats -----------------------------------------------------------------------------------------------


def test_segments_are_read_by_mir_eval(tmp_path):
    mir_eval = pytest.importorskip("mir_eval")
    path = tmp_path / "x.lab"
    write_own("lab", path, EVERY["chords"])
    intervals, names = mir_eval.io.load_labeled_intervals(str(path), delimiter="\t")
    assert intervals.tolist() == [[0.0, 2.5], [2.5, 10.0]]
    assert names == ["N", "A#:min"]
    assert mir_eval.chord.encode_many(names)
    sections = predicted("sections", segments=labels((0.0, 1.0, "Verse A,\t2\n"), (1.0, 10800.25, "é")), seconds=HOURS)
    write_own("lab", path, sections)
    intervals, names = mir_eval.io.load_labeled_intervals(str(path), delimiter="\t")
    assert intervals.tolist() == [[0.0, 1.0], [1.0, 10800.0]]
    assert names == ["Verse A, 2", "é"]
    assert encode("lab", EVERY["no chords"]) == b""
    assert encode("lab", spoken("a b")) == b"0.0000\t0.3000\ta\n0.4000\t0.7000\tb\n"
    # What would begin after the clip's end is left out.
    assert encode("lab", predicted("chords", segments=labels((10.0, 10.01, "N")))) == b""


def test_beats_are_read_by_mir_eval(tmp_path):
    mir_eval = pytest.importorskip("mir_eval")
    path = tmp_path / "x.beats"
    write_own("beats", path, EVERY["beats"])
    times, numbers = mir_eval.io.load_labeled_events(str(path), delimiter="\t")
    assert times.tolist() == [0.5, 1.0, 1.5]
    assert numbers == ["0", "1", "2"]
    write_own("beats", path, EVERY["beats alone"])
    assert mir_eval.io.load_events(str(path)).tolist() == [0.5, 1.0]
    write_own("beats", path, EVERY["no beats"])
    assert path.read_bytes() == b""


def test_textgrids_cover_the_clip_without_holes():
    said = replace(spoken('say "é"', length=1.5, start=0.2), tokens=labels((0.2, 0.3, "s"), (0.25, 0.4, "a")))
    text = encode("textgrid", said).decode()
    assert re.findall(r'name = "(\w+)"', text) == ["words", "tokens"]
    assert re.findall(r"size = (\d+)", text) == ["2", "5", "4"]
    intervals = re.findall(r'xmin = (\S+)\n +xmax = (\S+)\n +text = "(.*)"\n', text)
    assert [(float(start), float(end), label) for start, end, label in intervals] == [
        *((0.0, 0.2, ""), (0.2, 0.5, "say"), (0.5, 0.6, ""), (0.6, 0.9, '""é""'), (0.9, 1.5, "")),
        *((0.0, 0.2, ""), (0.2, 0.3, "s"), (0.3, 0.4, "a"), (0.4, 1.5, "")),
    ]
    assert re.findall(r'name = "(\w+)"', encode("textgrid", EVERY["phones"]).decode()) == ["phones"]
    silent = encode("textgrid", EVERY["no words"]).decode()
    assert silent.count('xmin = 0.0\n            xmax = 10.0\n            text = ""') == 2


def test_texts_are_one_line():
    assert encode("txt", predicted(text="to\nbe")) == b"to be\n"
    assert encode("txt", EVERY["no words"]) == b"\n"


# --- notes ------------------------------------------------------------------------------------------------------------


def read_midi(path):
    pretty_midi = pytest.importorskip("pretty_midi")
    return pretty_midi.PrettyMIDI(str(path))


def test_notes_are_read_by_pretty_midi(tmp_path):
    path = tmp_path / "x.mid"
    pytest.importorskip("pretty_midi")
    write_own("mid", path, EVERY["notes"])
    (piano,) = read_midi(path).instruments
    found = [(note.pitch, note.velocity, note.start, note.end) for note in piano.notes]
    wanted = [(60, 80, 0.5, 1.25), (108, 100, 0.5, 0.75), (60, 80, 1.25, 1.5)]
    assert sorted(found) == [pytest.approx(row, abs=1e-3) for row in sorted(wanted)]
    write_own("mid", path, EVERY["no notes"])
    assert sum(len(one.notes) for one in read_midi(path).instruments) == 0


@pytest.mark.parametrize(("hours", "exact"), [(2.4, 2e-3), (3, 3e-3), (30, 0.02), (80, 0.2)])
def test_notes_of_long_recordings_are_read(tmp_path, hours, exact):
    path = tmp_path / "x.mid"
    pytest.importorskip("pretty_midi")
    end = hours * 3600
    write_own("mid", path, predicted("notes", end, notes=(NoteEvent(end - 1.0, end, 60),)))
    (note,) = read_midi(path).instruments[0].notes
    assert (note.start, note.end) == pytest.approx((end - 1.0, end), abs=exact)


# --- subtitles --------------------------------------------------------------------------------------------------------

SRT = re.compile(r"(\d+)\n(\d\d+):(\d\d):(\d\d),(\d\d\d) --> (\d\d+):(\d\d):(\d\d),(\d\d\d)\n((?:.+\n)+)(?:\n|\Z)")


def read_srt(content):
    """Return start, end and lines of each cue; nothing else may be in the file."""
    text = content.decode()
    found = list(SRT.finditer(text))
    assert "".join(one[0] for one in found) == text
    assert [int(one[1]) for one in found] == list(range(1, len(found) + 1))

    def seconds(hours, minutes, whole, thousandths):
        return int(hours) * 3600 + int(minutes) * 60 + int(whole) + int(thousandths) / 1000

    return [(seconds(*one.groups()[1:5]), seconds(*one.groups()[5:9]), one[10].splitlines()) for one in found]


def check_cues(found, width=42):
    for start, end, lines in found:
        assert start < end <= start + 7.001
        assert 1 <= len(lines) <= 2
        assert all(len(line) <= width for line in lines)
    for before, after in pairwise(found):
        assert before[1] <= after[0]


LOREM = "the boats of the harbour are painted in every colour that the wind of the sea has left on them over the years "


def test_cues_are_short_even_and_complete():
    found = read_srt(encode("srt", spoken((LOREM * 5).strip())))
    check_cues(found)
    assert " ".join(" ".join(lines) for *_, lines in found) == (LOREM * 5).strip()
    # No cue is left with a word or two.
    assert min(len(" ".join(lines)) for *_, lines in found) > 30
    both = read_srt(encode("srt", spoken("six " * 23, 0.2, 0.05)))
    assert [len(" ".join(lines)) for *_, lines in both] in ([43, 47], [47, 43])


def test_cues_end_at_pauses_and_sentences():
    first = spoken("one two three.", start=1.0)
    rest = spoken("four five. " + "six " * 16, start=8.0)
    both = replace(rest, text=f"{first.text} {rest.text.strip()}", words=(*first.words, *rest.words), seconds=30.0)
    found = read_srt(encode("srt", both))
    assert [lines for *_, lines in found[:2]] == [["one two three."], ["four five."]]
    assert found[0][:2] == (1.0, 2.3)
    check_cues(found)


def test_a_short_cue_stays_for_a_second_where_it_can():
    rows = labels((0.5, 0.6, "yes"), (3.0, 3.1, "no"), (4.2, 4.3, "no"), (9.9, 10.0, "yes"))
    found = read_srt(encode("srt", predicted(text="yes no no yes", words=rows)))
    assert [one[:2] for one in found] == [(0.5, 1.5), (3.0, 4.0), (4.2, 5.2), (9.9, 10.0)]


def test_marks_of_slots_and_a_word_after_the_end_take_no_spaces_away():
    marked = replace(spoken("play queen now"), text="play <artist>queen</artist> now")
    assert read_srt(encode("srt", marked))[0][2] == ["play queen now"]
    cut = replace(spoken("play queen now"), seconds=0.75)
    assert read_srt(encode("srt", cut))[0][2] == ["play queen"]


def test_languages_without_spaces_have_lines_of_21_signs():
    text = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少" * 4
    found = read_srt(encode("srt", spoken(text, 0.1, 0.02, unspaced=True)))
    check_cues(found, 21)
    assert "".join("".join(lines) for *_, lines in found) == text


def test_subtitles_of_three_hours_and_of_long_words():
    words = labels(*((i * 0.5, i * 0.5 + 0.4, f"w{i}") for i in range(int(HOURS * 2))))
    text = " ".join(one.label for one in words)
    found = read_srt(encode("srt", predicted(text=text, words=words, seconds=HOURS)))
    check_cues(found)
    assert " ".join(" ".join(lines) for *_, lines in found) == text
    assert found[-1][1] == HOURS
    (only,) = read_srt(encode("srt", spoken("w" * 100)))
    assert only[2] == ["w" * 100]


def test_nothing_said_is_no_cue():
    assert encode("srt", EVERY["no words"]) == b""
    assert encode("vtt", EVERY["no words"]) == b"WEBVTT\n"


def test_webvtt_has_the_cues_of_srt_with_markup_escaped():
    one = spoken("<unk> rock & roll")
    assert encode("vtt", one).decode() == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n&lt;unk&gt; rock &amp; roll\n"
    assert read_srt(encode("srt", one)) == [(0.0, 1.5, ["<unk> rock & roll"])]


# --- JAMS -------------------------------------------------------------------------------------------------------------

NAMESPACES = {
    "words": ("lyrics", ["to", "be", "or", "not"]),
    "text": ("lyrics", ["to be"]),
    "phones": ("segment_open", ["T", "UW"]),
    "chords": ("chord", ["N", "A#:min"]),
    "key": ("key_mode", ["F#:minor"]),
    "emotion": ("tag_open", ["joy, quiet"]),
    "tags": ("tag_open", ["slow"]),
    "values": ("mood_thayer", [[0.5, -2.0]]),
    "other values": ("vector", [[120.0]]),
    "beats": ("beat", [None, 1, 2]),
    "beats alone": ("beat", [None, None]),
    "notes": ("note_midi", [60, 108, 60]),
    "vector": ("vector", [[0.5, -0.25]]),
    "no words": ("lyrics", []),
    "no beats": ("beat", []),
    "no notes": ("note_midi", []),
    "no chords": ("chord", []),
    "no tags": ("tag_open", []),
}


def test_jams_are_valid_for_the_package(tmp_path):
    with warnings.catch_warnings():
        # Of the package's own calls.
        warnings.simplefilter("ignore")
        jams = pytest.importorskip("jams")
        assert NAMESPACES.keys() == EVERY.keys()
        for name, (namespace, values) in NAMESPACES.items():
            path = tmp_path / f"{name}.jams"
            write_own("jams", path, EVERY[name])
            read = jams.load(str(path), validate=True, strict=True)
            (annotation,) = read.annotations
            assert annotation.namespace == namespace
            assert [one.value for one in annotation.data] == values, name
            assert read.file_metadata.duration == annotation.duration == EVERY[name].seconds
            assert all(one.time + one.duration <= annotation.duration for one in annotation.data)
        intervals, chords = jams.load(str(tmp_path / "chords.jams")).annotations[0].to_interval_values()
    assert intervals.tolist() == [[0.0, 2.5], [2.5, 10.0]]
    assert chords == ["N", "A#:min"]


# --- JSON and tables --------------------------------------------------------------------------------------------------


def test_json_is_the_record(tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(to_json(one)) + "\n" for one in EVERY.values()))
    assert list(iterate_clip_predictions(path)) == list(EVERY.values())
    for one in EVERY.values():
        (tmp_path / "one.jsonl").write_text(json.dumps(json.loads(encode("json", one))))
        assert list(iterate_clip_predictions(tmp_path / "one.jsonl")) == [one]
    assert "été" in encode("json", EVERY["emotion"]).decode()
    odd = json.loads(encode("json", replace(EVERY["text"], id="caf\udce9.wav")))
    assert odd["id"] == "caf\\xe9.wav"


def test_a_table_has_the_columns_of_a_result(tmp_path):
    path = tmp_path / "x.parquet"
    rows = [
        replace(EVERY["emotion"], reference="été", manifest={"label": "été", "speaker": "a", "scores": 3}),
        replace(EVERY["emotion"], id="b", classes=EVERY["emotion"].classes[::-1]),
    ]
    write_shared("parquet", path, iter(rows))
    table = pq.read_table(path)
    assert table.schema.metadata == {b"task": b"classification", b"classes": json.dumps(["joy, quiet", "été"]).encode()}
    first, second = table.to_pylist()
    assert {name: first[name] for name in ("id", "start", "label", "speaker", "manifest_scores")} == {
        "id": "a.wav", "start": 0.0, "label": "été", "speaker": "a", "manifest_scores": 3,
    }  # fmt: skip
    assert (first["reference"], first["hypothesis"]) == ("été", "joy, quiet")
    assert first["scores"] == pytest.approx(np.log([0.75, 0.25]))
    assert (second["reference"], second["hypothesis"], second["speaker"]) == (None, "été", None)
    tags = [replace(EVERY["tags"], tags=(NamedProbability("slow", 1.0), NamedProbability("loud", 0.0)))]
    write_shared("parquet", path, tags)
    (row,) = pq.read_table(path).to_pylist()
    assert row["hypothesis"] == ["slow"]
    assert row["scores"][0] < -600
    assert row["scores"][1] > 600
    write_shared("parquet", path, [EVERY["vector"]])
    assert pq.read_table(path).to_pylist()[0]["embedding"] == [0.5, -0.25]
    write_shared("parquet", path, [])
    assert pq.read_table(path).num_rows == 0


def test_a_table_of_predictions_is_audited(tmp_path):
    clips = []
    for number in range(12):
        row = {"speaker": f"s{number}", "gender": "FM"[number % 2], "text": "to be or"}
        clips.append(replace(spoken("to be or not"), id=f"c{number}", reference="to be or", manifest=row))
    path = tmp_path / "predictions.parquet"
    write_shared("parquet", path, clips)
    found = read_predictions(path, ("gender",))
    assert found.task == "asr"
    assert get_metric("wer").score(found.statistics["wer"].sum(axis=0)) == pytest.approx(100 / 3)
    assert found.attributes["gender"].names == ["F", "M"]

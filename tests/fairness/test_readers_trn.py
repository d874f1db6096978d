import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.predictions import read_predictions

REF = ";; a comment\nthe old sea (ann-01)\none two (ann-02)\n\n(bob_03)\nlate (bob_04)\n"
HYP = "the sea (ann-01)\n(ann-02)\noh (bob_03)\nmore (eve-01)\n"


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("ref.trn", "hyp.trn"), "."),
        (("ref.trn", "hyp.trn"), "hyp.trn"),
        (("a.ref.trn", "a.hyp.trn"), "."),
        (("ref.txt", "hyp.txt"), "hyp.txt"),
        (("ref.trn", "hyp.large.trn"), "hyp.large.trn"),
    ],
)
def test_a_pair(tmp_path, names, given):
    lines = REF.removeprefix(";; a comment\n") if given.endswith(".txt") else REF
    write(tmp_path, {names[0]: lines, names[1]: HYP})
    found = read_predictions(tmp_path / given, by=["speaker"])
    assert found.statistics["wer"].tolist() == [[0, 1, 0, 3], [0, 2, 0, 2], [0, 0, 1, 0]]
    assert [found.speakers.names[i] for i in found.speakers.index] == ["ann", "ann", "bob"]
    assert {e.reason: e.names for e in found.exclusions} == {"no hypothesis": ("bob_04",), "no reference": ("eve-01",)}
    assert f"sclite's transcripts {names[1]} and {names[0]}, speakers by the ids" in found.signature


def test_kaldi_s_tables_beside_a_pair(tmp_path):
    write(tmp_path, {"ref.trn": REF, "hyp.trn": HYP, "spk2gender": "ann f\nbob m\n"})
    found = read_predictions(tmp_path)
    assert [found.attributes["gender"].names[i] for i in found.attributes["gender"].index] == ["F", "F", "M"]


def test_a_manifest_beside_hypotheses(tmp_path):
    write(tmp_path, {"a/out.trn": HYP, "m.jsonl": '{"id": "ann-01", "text": "the sea", "gender": "F"}\n', "r.trn": REF})
    found = read_predictions(tmp_path / "a" / "out.trn", manifest=tmp_path / "m.jsonl")
    assert found.statistics["wer"].tolist() == [[0, 0, 0, 2]]
    both = read_predictions(tmp_path / "a" / "out.trn", by=["speaker"], manifest=tmp_path / "r.trn")
    assert both.statistics["wer"].sum(0).tolist() == [0, 3, 1, 5]


def test_choices_of_words_are_refused_by_their_line(tmp_path):
    write(
        tmp_path, {"ref.trn": "{ uh / @ } yes (a-1)\n(uh) yes (a-2)\nyes (a-3)\n", "hyp.trn": "yes (a-1)\nyes (a-3)\n"}
    )
    found = read_predictions(tmp_path, by=["speaker"])
    assert {e.reason: e.names for e in found.exclusions} == {
        "the reference has a choice of words in braces": ("line 1",),
        "the reference has words in brackets, which may be left out": ("line 2",),
    }
    assert len(found.words) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"hyp.trn": "yes a-1\n"}, r"hyp\.trn:1: a line must end in its utterance between brackets"),
        (
            {"ref.trn": "yes (a-1)\n", "hyp.trn": "yes (a-1)\nno (a-1)\n"},
            r"hyp\.trn:2: `a-1` was given in line 1 already",
        ),
        ({"hyp.trn": "yes (a-1)\n"}, "the columns reference are missing; found: hypothesis, id, speaker"),
        ({"ref.trn": "yes (1)\n", "hyp.trn": "yes (1)\n"}, "no row can be used: 1 no speaker"),
    ],
)
def test_wrong_pairs_are_explained(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_predictions(write(tmp_path, files) / "hyp.trn", by=["speaker"])


def test_a_folder_of_several_systems(tmp_path):
    write(tmp_path, {"ref.trn": REF, "hyp.a.trn": HYP, "hyp.b.trn": HYP})
    with pytest.raises(UserError, match=r"hypotheses of several systems: hyp\.a\.trn, hyp\.b\.trn \(name one\)"):
        read_predictions(tmp_path)

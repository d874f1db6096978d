import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.predictions import read_predictions

TEXT = "a-1 one two\na-2 three\nb-1 four\nb-2\n"


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def data(folder, **files):
    names = {"text": TEXT, "utt2spk": "a-1 a\na-2 a\nb-1 b\nb-2 b\n", "spk2gender": "a f\nb m\n"}
    return write(folder, names | files)


@pytest.mark.parametrize("name", ["hyp", "hyp.txt", "text_hyp"])
def test_a_folder(tmp_path, name):
    found = read_predictions(data(tmp_path, **{name: "b-1 four\na-1\tone  too\na-2\nb-2 oh\n"}))
    assert found.statistics["wer"].tolist() == [[1, 0, 0, 2], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert [found.speakers.names[i] for i in found.speakers.index] == ["a", "a", "b", "b"]
    assert [found.attributes["gender"].names[i] for i in found.attributes["gender"].index] == ["F", "F", "M", "M"]
    assert found.empty_references.tolist() == [False, False, False, True]
    assert f"hypotheses of {name}" in found.signature
    assert "f → F, m → M" in found.signature


def test_what_has_no_partner_is_named(tmp_path):
    found = read_predictions(data(tmp_path, hyp="a-1 one\nb-1 x\nb-9 y\n"))
    assert {e.reason: e.names for e in found.exclusions} == {"no hypothesis": ("a-2", "b-2"), "no reference": ("b-9",)}


def test_speakers_of_spk2utt_lengths_and_other_attributes(tmp_path):
    folder = write(
        tmp_path,
        {
            "text": TEXT,
            "hyp": TEXT,
            "spk2utt": "a a-1 a-2\nb b-1 b-2\n",
            "segments": "a-1 rec 0.5 2.0\na-2 rec 2 3\n",
            "utt2lang": "a-1 fr\na-2 de\n",
            "spk2age": "a 23\n",
        },
    )
    found = read_predictions(folder, by=["lang", "age"])
    assert found.speakers.index.tolist() == [0, 0, 1, 1]
    assert found.seconds.tolist()[:2] == [1.5, 1.0]
    assert found.attributes["lang"].names == ["de", "fr"]
    assert found.attributes["lang"].index.tolist() == [1, 0, -1, -1]
    assert found.attributes["age"].names == ["20–29"]
    write(folder, {"utt2dur": "a-1 7\n"})
    assert read_predictions(folder, by=["lang"]).seconds[0] == 7
    with pytest.raises(UserError, match="no column `gender`; found: age, hypothesis, id, lang, reference, seconds"):
        read_predictions(folder)


def test_the_best_score_of_a_decode_folder(tmp_path):
    scoring = {
        "decode_test/scoring_kaldi/wer_details/lmwt": "9\n",
        "decode_test/scoring_kaldi/wer_details/wip": "0.5\n",
        "decode_test/scoring_kaldi/penalty_0.5/9.txt": TEXT,
        "decode_test/scoring_kaldi/penalty_0.5/8.txt": "a-1 x\n",
        "decode_test/scoring_kaldi/test_filt.txt": TEXT.replace("one", "eins"),
    }
    folder = write(data(tmp_path), scoring)
    assert read_predictions(folder).statistics["wer"].sum(0).tolist() == [0, 0, 0, 4]
    (folder / "text").unlink()
    found = read_predictions(folder)
    assert found.statistics["wer"].sum(0).tolist() == [1, 0, 0, 4]
    assert "hypotheses of decode_test/scoring_kaldi/penalty_0.5/9.txt" in found.signature
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"id": "a-1", "speaker": "s", "gender": "F"}\n')
    alone = read_predictions(folder / "decode_test", manifest=manifest)
    assert alone.speakers.names == ["s"]
    write(folder, {name.replace("decode_test", "decode_dev"): content for name, content in scoring.items()})
    with pytest.raises(UserError, match="several decode folders: decode_dev, decode_test"):
        read_predictions(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"needs hypotheses: none of hyp, hyp\.txt, text_hyp, decode\*/scoring_kaldi"),
        ({"hyp": "a-1 x\na-1 y\n"}, r"hyp:2: `a-1` was given in line 1 already"),
        ({"hyp": TEXT, "utt2spk": "a-1 a\na-1 b\n"}, r"utt2spk:2: `a-1` has two values: a and b"),
        ({"hyp": TEXT, "segments": "a-1 rec\n"}, r"segments:1: a segment must be"),
        ({"hyp": TEXT, "text": "a-1 x\na-1 y\n"}, "appears twice with different content: lines 1 and 2"),
        ({"scoring_kaldi/x": ""}, "the best weight and penalty are not known"),
        (
            {"scoring_kaldi/wer_details/lmwt": "../../hyp", "scoring_kaldi/wer_details/wip": "0"},
            "hypotheses of the best score were expected",
        ),
    ],
)
def test_wrong_folders_are_explained(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_predictions(data(tmp_path, **files))


def test_a_folder_without_speakers(tmp_path):
    with pytest.raises(UserError, match="the columns speaker are missing; found: hypothesis, id, reference"):
        read_predictions(write(tmp_path, {"text": TEXT, "hyp": TEXT}))

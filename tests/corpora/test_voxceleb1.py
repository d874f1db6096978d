import pytest

from audio_ssl.data.corpus import UserError, hash_split, load_corpus

DEV, TEST = "id10001/1zcIwhmdeo4/00001.wav", "id10270/5r0dWxy17C8/00001.wav"
OTHER = "id10001/7gWzIy6yIIk/00002.wav"
META = (
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
    "id10001\tA.J._Buckley\tm\tIreland\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\n"
)


def make(root, write_audio, write_text, folders=("wav", "wav")):
    write_audio(root / folders[0] / DEV, 0.25)
    write_audio(root / folders[0] / OTHER, 0.25)
    write_audio(root / folders[1] / TEST, 0.25)
    write_text(root / "iden_split.txt", f"1 {DEV}\n2 {OTHER}\n3 {TEST}\n")
    write_text(root / "veri_test.txt", f"1 {TEST} {TEST}\n0 {TEST} id10271/a/00001.wav\n")
    write_text(root / "vox1_meta.csv", META)


def read(root, split=None):
    return {c.id: c for c in load_corpus("voxceleb1").read(root, split)}


def test_identification(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = read(tmp_path)
    assert {name: c.split for name, c in clips.items()} == {DEV: "train", OTHER: "valid", TEST: "test"}
    clip = clips[TEST]
    assert (clip.label, clip.speaker, clip.gender) == ("id10270", "id10270", "F")
    assert clip.extra == {"nationality": "USA", "video": "5r0dWxy17C8", "verification": "test"}
    assert clips[DEV].gender == "M"
    assert set(read(tmp_path, "valid")) == {OTHER}


def test_verification_is_by_speaker_and_named_as_in_the_trials(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text, ("dev/wav", "test/wav"))
    clips = read(tmp_path, "verification")
    # Not one of id10001's two videos may be elsewhere.
    part = hash_split("voxceleb1", "id10001", valid=0.05, test=0.0)
    assert {name: c.split for name, c in clips.items()} == {DEV: part, OTHER: part, TEST: "test"}
    trial = (tmp_path / "veri_test.txt").read_text().splitlines()[0].split()
    assert trial[1] in clips


def test_a_twentieth_of_the_other_speakers_validates(corpus_module):
    parts = [corpus_module("voxceleb1")._verification(f"id1{n:04}", {"id10270"}) for n in range(1, 1252)]
    assert parts.count("test") == 1
    assert 40 < parts.count("valid") < 90


def test_only_the_list_that_is_needed_must_be_there(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    (tmp_path / "vox1_meta.csv").unlink()
    (tmp_path / "veri_test.txt").unlink()
    assert (read(tmp_path)[DEV].gender, read(tmp_path)[DEV].row().get("verification")) == (None, None)
    with pytest.raises(UserError, match="no such file") as error:
        read(tmp_path, "verification")
    assert error.value.where == str(tmp_path / "veri_test.txt")


def test_a_damaged_file_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "wav" / DEV).write_bytes(b"")
    assert set(read(tmp_path)) == {OTHER, TEST}
    assert "left out 1: 1 the file is empty" in caplog.text

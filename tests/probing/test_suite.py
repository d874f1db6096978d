"""Many questions in one command."""

import json
import shutil

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml, structure
from audio_ssl.base.errors import UserError
from audio_ssl.commands.evaluate import probe
from audio_ssl.probing.run import Suite, is_suite, run_suite

QUICK = ["optim.steps=2", "optim.eval_every=1", "optim.batch_clips=16", "baselines=[]"]


@pytest.mark.parametrize("name", catalog.names("probes/suites"))
def test_a_suite_names_probes_that_exist(name):
    assert is_suite(name)
    path = catalog.find("probes/suites", name)
    assert path.read_text().startswith("# ")
    suite = structure(Suite, read_yaml(path))
    assert set(suite.probes) <= set(catalog.names("probes"))


@pytest.fixture
def suite(tmp_path):
    """A suite of one's own: two probes of each of two manifests."""
    path = tmp_path / "suite_own.yaml"
    entries = {"demo_asr": "speech", "demo_st": "speech", "demo_key": "music", "demo_tagging": "music"}
    path.write_text("probes:\n" + "".join(f"  {probe}: {{manifest: {name}}}\n" for probe, name in entries.items()))
    return str(path)


@pytest.fixture
def manifests(toy_manifest, tmp_path):
    folder = tmp_path / "manifests"
    folder.mkdir()
    shutil.copy(toy_manifest, folder / "music.jsonl")
    shutil.copy(toy_manifest, folder / "speech.jsonl")
    return folder


def test_a_suite_asks_all_and_says_what_it_left_out(suite, manifests, tmp_path, caplog):
    (manifests / "speech.jsonl").unlink()
    done = run_suite(suite, "cqt", tmp_path / "out", [f"manifests={manifests}", *QUICK, "demo_key.seeds=[3]"])
    assert done.results == ("demo_key", "demo_tagging")
    assert done.missing == {"demo_asr": "speech", "demo_st": "speech"}
    assert "skipping demo_asr" in caplog.text
    assert "seeds:\n- 3\n" in (tmp_path / "out" / "demo_key" / "probe.yaml").read_text()
    assert "seeds:\n- 0\n" in (tmp_path / "out" / "demo_tagging" / "probe.yaml").read_text()


def test_a_probe_that_fails_does_not_stop_the_others(suite, manifests, tmp_path):
    overrides = [f"manifests={manifests}", *QUICK, "demo_asr.data.where={language: xx}"]
    with pytest.raises(UserError, match="1 probes failed: demo_asr"):
        probe(suite, "logmel", *overrides, out=tmp_path / "out")
    noted = json.loads((tmp_path / "out" / "suite.json").read_text())
    assert list(noted["failed"]) == ["demo_asr"]
    assert noted["results"] == ["demo_st", "demo_key", "demo_tagging"]
    assert "demo_tagging" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"\$\.manifests: must be given"),
        (["manifests=missing"], "no such folder"),
        (["manifests=EMPTY"], "none of the suite's manifests is here: music.jsonl, speech.jsonl"),
    ],
)
def test_a_suite_without_manifests_stops_at_once(overrides, message, suite, tmp_path):
    (tmp_path / "empty").mkdir()
    given = [one.replace("EMPTY", str(tmp_path / "empty")) for one in overrides]
    with pytest.raises(UserError, match=message):
        run_suite(suite, "logmel", tmp_path / "out", given)
    assert not (tmp_path / "out").exists()

import sys

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.metrics.registry import get_metric
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig


@pytest.mark.parametrize("folder", ["recipes", "probes", "corpora"])
def test_every_name_is_found(folder):
    assert catalog.names(folder)
    for name in catalog.names(folder):
        assert catalog.find(folder, name).stem == name


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match=r"unknown recipe `mert_95`; known: .*\(did you mean `mert_95m`\?\)"):
        catalog.find("recipes", "mert_95")
    with pytest.raises(UserError, match="unknown corpus `x`"):
        catalog.find("corpora", "x")


def test_a_path_wins_over_a_name(tmp_path):
    own = tmp_path / "demo.yaml"
    own.write_text("steps: 1\n")
    assert catalog.find("recipes", str(own)) == own
    with pytest.raises(UserError, match="no recipe file"):
        catalog.find("recipes", str(tmp_path / "missing.yaml"))


def test_unknown_kind_names_its_place():
    with pytest.raises(UserError, match=r"\$\.teachers\[0\]: unknown teacher `kmean`; known: .*kmeans"):
        catalog.load_part("teachers", "kmean", "$.teachers[0]")


def test_a_missing_package_names_the_extra(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'encodec'", name="encodec")

    monkeypatch.setattr(catalog.importlib, "import_module", absent)
    with pytest.raises(
        UserError, match=r"teacher `encodec` needs the package encodec \(pip install 'audio-ssl\[teachers\]'"
    ):
        catalog.load_part("teachers", "encodec")


def test_a_defect_inside_a_part_is_not_hidden(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'audio_ssl.gone'", name="audio_ssl.gone")

    monkeypatch.setattr(catalog.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="gone"):
        catalog.load_part("teachers", "cqt")


@pytest.mark.parametrize(
    ("package", "imported_by", "use", "message"),
    [
        (
            "encodec.modules",
            "audio_ssl.targets.codec.none",
            lambda: Codec(CodecConfig(16000)),
            "a codec needs the package encodec",
        ),
        (
            "rapidfuzz",
            "audio_ssl.metrics.families.none",
            lambda: get_metric("wer"),
            "metric `wer` needs the package rapidfuzz",
        ),
        (
            "mir_eval",
            "audio_ssl.metrics.families.none",
            lambda: get_metric("key_score"),
            "metric `key_score` needs the package mir_eval",
        ),
    ],
)
def test_a_package_that_is_imported_late_names_the_extra(monkeypatch, package, imported_by, use, message):
    monkeypatch.delitem(sys.modules, imported_by, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{message} \(pip install 'audio-ssl\[(teachers|probing)\]'\)"):
        use()

"""Our models as a family of fairseq2's, found as fairseq2 finds it: by the entry point of the installed package."""

from importlib.metadata import entry_points

import pytest
import torch
import yaml

from audio_ssl.base.config import unstructure
from audio_ssl.base.errors import UserError
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv, cqt
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.pretrain.fairseq2_family import FAMILY, FamilyConfig, config_of_run, create_model

CPU = torch.device("cpu")
SMALL = transformer.Config(layers=2, dim=32, ffn_dim=64, heads=2, position_kernel_frames=16, position_groups=4)
CONV = ModelConfig(conv.Config(channels=(8, 8, 8, 8, 8, 8, 16)), SMALL)
# Its filters are no weights: they are what fairseq2's initialisation on the meta device would leave empty.
CQT = ModelConfig(cqt.Config(n_bins=24, fmin_hz=200.0), SMALL)


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    return tmp_path_factory.mktemp("cards")


@pytest.fixture(scope="module")
def hub(cards):
    """The family's hub, of a fairseq2 that starts anew and raises what goes wrong in extensions."""
    pytest.importorskip("fairseq2n", exc_type=ImportError)
    import soundfile  # noqa: F401, I001  # it brings the libsndfile that fairseq2 looks for
    import fairseq2.recipe  # noqa: F401  # its other packages import each other in a circle
    from fairseq2 import init_fairseq2
    from fairseq2.composition import register_file_assets
    from fairseq2.models import ModelHubAccessor
    from fairseq2.runtime import dependency

    save(CONV, cards / "conv")
    write_card(cards, "trained", checkpoint=(cards / "conv" / "model.safetensors").as_uri(), config=unstructure(CONV))
    write_card(cards, "changed", arch="hubert_tiny", config={"encoder": {"layers": 1, "heads": 8}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRSEQ2_EXTENSION_TRACE", "1")
        patch.setattr(dependency, "_resolver", None)
        with pytest.warns(DeprecationWarning, match="hg_exporter"):
            init_fairseq2(extras=lambda container: register_file_assets(container, cards), no_progress=True)
        yield ModelHubAccessor(FAMILY, SSLModel, FamilyConfig)()


def save(config, folder):
    folder.mkdir()
    model = build_model(config, torch.Generator().manual_seed(5)).eval()
    model.save_pretrained(folder)
    return model


def write_card(folder, name, checkpoint=None, arch=None, config=None):
    card = {"name": name, "model_family": FAMILY, "checkpoint": checkpoint, "model_arch": arch}
    card = {key: value for key, value in card.items() if value is not None}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**card, "model_config": {"model": config}}))


@torch.no_grad()
def assert_same(model, other):
    waveform = torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9000, 7000])
    pairs = list(zip(model(waveform, lengths).hidden, other.eval()(waveform, lengths).hidden, strict=True))
    assert len(pairs) == 3
    assert all(torch.equal(one, two) for one, two in pairs)


def test_the_installed_package_announces_the_family():
    found = [point.value for point in entry_points(group="fairseq2.extension") if point.name == FAMILY]
    assert found == ["audio_ssl.pretrain.fairseq2_family:register"], "install the package again: make install"


def test_a_model_of_the_family_is_ours(hub):
    config = FamilyConfig(model=dict(unstructure(CONV)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        theirs = hub.create_new_model(config, device=CPU)
        torch.manual_seed(7)
        ours = SSLModel(CONV).eval()
    assert_same(ours, theirs)


@pytest.mark.parametrize("config", [CONV, CQT], ids=["conv", "cqt"])
def test_a_saved_model_is_loaded_by_fairseq2(hub, tmp_path, config):
    ours = save(config, tmp_path / "run")
    theirs = hub.load_custom_model(tmp_path / "run" / "model.safetensors", config_of_run(tmp_path / "run"), device=CPU)
    assert_same(ours, theirs)


def test_cards_name_and_change_models(hub, cards):
    assert_same(SSLModel.from_pretrained(cards / "conv"), hub.load_model("trained", device=CPU))
    changed = hub.create_new_model(hub.get_model_config("changed"), device=CPU)
    assert (changed.num_layers, changed.config.encoder.heads, changed.dim) == (1, 8, 256)


def test_every_recipe_of_a_model_is_an_architecture(hub):
    archs = hub.get_archs()
    assert {"hubert_tiny", "mert_95m", "wav2vec2_base"} <= archs
    assert "codec_tiny" not in archs
    assert hub.get_arch_config("mert_95m").model["encoder"]["layers"] == 12


def test_a_config_without_sense_is_refused():
    with pytest.raises(UserError, match=r"\$\.frontend: the key `frontend` is missing"):
        create_model(FamilyConfig())

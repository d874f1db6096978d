"""Every part of every folder has a Config and a build, says what it is, and documents its options."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from audio_ssl.base import catalog
from audio_ssl.base.config import structure, unstructure
from audio_ssl.commands.explain import PART_FOLDERS, listing_lines
from audio_ssl.data.frames import FrameGrid
from audio_ssl.features.job import EngineTraits
from audio_ssl.features.writing import WriterTraits
from audio_ssl.models.interfaces import Encoder, EncoderTraits, Frontend, FrontendTraits
from audio_ssl.pretrain.jobs import KindTraits
from audio_ssl.pretrain.learner import Learner
from audio_ssl.pretrain.view import Objective, ObjectiveTraits
from audio_ssl.probing.format import FormatTraits
from audio_ssl.targets.spec import FollowingTeacher, TeacherTraits

TRAITS = {
    "frontends": FrontendTraits,
    "encoders": EncoderTraits,
    "teachers": TeacherTraits,
    "objectives": ObjectiveTraits,
    "pretrain/kinds": KindTraits,
    "features/writers": WriterTraits,
    "features/engines": EngineTraits,
    "probing/formats": FormatTraits,
}
"""The folders whose parts say something of themselves that others act on."""

PACKAGE = Path(__file__).parents[2] / "audio_ssl"
PARTS = [(folder, kind) for folder in PART_FOLDERS for kind in catalog.parts(folder)]


def test_every_folder_has_parts():
    assert {folder for folder, _ in PARTS} == set(PART_FOLDERS)


@pytest.mark.parametrize(("folder", "kind"), PARTS)
def test_part_has_a_frozen_config_and_a_build(folder, kind):
    module = catalog.load_part(folder, kind)
    assert dataclasses.is_dataclass(module.Config)
    assert module.Config.__dataclass_params__.frozen
    assert inspect.isfunction(module.build)
    assert module.build.__doc__
    assert len((module.__doc__ or "").splitlines()[0]) > 20


@pytest.mark.parametrize(("folder", "kind"), [(folder, kind) for folder in TRAITS for kind in catalog.parts(folder)])
def test_a_part_says_what_others_act_on_in_one_typed_place(folder, kind):
    if kind == "ray":
        pytest.importorskip("ray")
    module = catalog.load_part(folder, kind)
    assert type(module.TRAITS) is TRAITS[folder]
    words = {name for name, value in vars(module).items() if name.isupper() and isinstance(value, bool | None)}
    assert words == set(), "a word beside TRAITS is read by nobody"


def looked_up(path):
    """Return the names that a file looks up as text and does without if they are not there."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("getattr", "hasattr")]
    optional = [call for call in named if call.func.id == "hasattr" or len(call.args) == 3]
    return {call.args[1].value for call in optional if isinstance(call.args[1], ast.Constant)}


def test_nothing_of_a_part_is_looked_up_by_name_and_done_without(tmp_path):
    """A typo in such a name turns off what depends on it."""
    (tmp_path / "code.py").write_text('getattr(part, "MASKED", False) or hasattr(part, "fit") or getattr(part, name)')
    assert looked_up(tmp_path / "code.py") == {"MASKED", "fit"}
    packages = ("models", "targets", "pretrain", "features")
    files = [path for package in packages for path in sorted((PACKAGE / package).rglob("*.py"))]
    found = {path.relative_to(PACKAGE).as_posix(): names for path in files if (names := looked_up(path))}
    # Of torch's own objects, which differ between its versions.
    assert found == {"models/fast/cpu.py": {"_linear_pointwise"}, "pretrain/replicas.py": {"variable"}}


BASES = {Frontend: (FrameGrid(16000, 320, 400), 3), Encoder: (3, 2), Objective: (), FollowingTeacher: (), Learner: ()}


@pytest.mark.parametrize("cls", BASES)
def test_a_part_without_its_forward_pass_cannot_be_made(cls):
    with pytest.raises(TypeError, match=r"abstract method.* '?forward"):
        type("Unfinished", (cls,), {})(*BASES[cls])


def test_base_classes_of_parts_have_no_weights_and_draw_nothing():
    """Names of saved weights and the order of random draws are those of the parts alone."""
    before = torch.get_rng_state()
    bare = [type(f"Bare{cls.__name__}", (cls,), dict.fromkeys(cls.__abstractmethods__)) for cls in BASES]
    made = [cls(*given) for cls, given in zip(bare, BASES.values(), strict=True)]
    assert [dict(module.named_buffers()) | module.state_dict() for module in made] == [{}] * len(made)
    assert [list(module.children()) for module in made] == [[]] * len(made)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", catalog.parts("objectives"))
def test_an_objective_has_the_keys_that_the_learner_reads(kind):
    module = catalog.load_part("objectives", kind)
    keys = {field.name for field in dataclasses.fields(module.Config)}
    assert "weight" in keys
    assert ("teacher" in keys) == (module.TRAITS.needs is not None)


@pytest.mark.parametrize("kind", catalog.parts("teachers"))
def test_a_teacher_has_the_keys_and_functions_that_its_traits_promise(kind):
    module = catalog.load_part("teachers", kind)
    keys, traits = {field.name for field in dataclasses.fields(module.Config)}, module.TRAITS
    assert ("path" in keys) == traits.path
    assert ("model" in keys) == (traits.spec_of_previous is not None)
    assert (traits.fit is None) == (traits.spec_before_fit is None)
    assert traits.path or not (traits.codec or traits.fit)
    assert ("random_weights" in keys) == (traits.untrained is not None)
    # A function of one of these names that is not in TRAITS would never be called.
    named = {name for name in ("fit", "spec_of_previous", "check_frontend", "build_online") if hasattr(module, name)}
    given = (traits.fit, traits.spec_of_previous, traits.check_frontend, traits.follow)
    assert named == {function.__name__ for function in given if function is not None}


@pytest.mark.parametrize(("folder", "kind"), PARTS)
def test_every_option_has_a_docstring(folder, kind):
    module = catalog.load_part(folder, kind)
    (config,) = [
        n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef) and n.name == "Config"
    ]
    undocumented = []
    for node, following in zip(config.body, [*config.body[1:], None], strict=True):
        documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and not documented:
            undocumented.append(node.target.id)
    assert undocumented == []


@pytest.mark.parametrize(("folder", "kind"), PARTS)
def test_default_configs_round_trip(folder, kind):
    module = catalog.load_part(folder, kind)
    required = [f for f in dataclasses.fields(module.Config) if _has_no_default(f)]
    if not required:
        config = module.Config()
        assert structure(module.Config, unstructure(config)) == config
    else:
        with pytest.raises(TypeError, match=required[0].name):
            module.Config()


def _has_no_default(field):
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def test_the_listing_names_every_part_with_a_line_about_it():
    listed = list(listing_lines("parts"))
    for _, kind in PARTS:
        assert any(line.split()[:1] == [kind] and len(line.split()) > 3 for line in listed), kind

"""Every part of every folder has a Config and a build, says what it is, and documents its options."""

import ast
import dataclasses
import inspect

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.config import structure, unstructure
from audio_ssl.commands.explain import PART_FOLDERS, listing_lines

TRAITS = {"encoders": {"VISIBLE"}, "objectives": {"CAUSAL", "CLONES", "MASKED"}, "teachers": {"ONLINE"}}
CLASS_TRAITS = {"encoders": {"POINTS"}}
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


@pytest.mark.parametrize(("folder", "kind"), PARTS)
def test_what_a_part_says_of_itself_is_asked_for(folder, kind):
    """Traits are looked up by name and may be left out, so a misspelt one would go unseen."""
    module = catalog.load_part(folder, kind)
    said = {name for name, value in vars(module).items() if value is True}
    assert said <= TRAITS.get(folder, set())
    classes = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    listed = {name for one in classes for name, value in vars(one).items() if name.isupper() and type(value) is tuple}
    assert listed <= CLASS_TRAITS.get(folder, set())


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

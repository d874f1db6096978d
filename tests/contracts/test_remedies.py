"""Every command, option and setting that a message tells the user to give is one that the command line takes."""

import ast
import dataclasses
import re
import shlex
import tomllib
import typing
from pathlib import Path

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.config import part_of
from audio_ssl.commands.app import app
from audio_ssl.features.settings import Settings
from audio_ssl.probing.probe import Probe
from audio_ssl.study.settings import Study

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "audio_ssl").rglob("*.py"), *(ROOT / "corpora").glob("*.py")])
CALLS = {"UserError", "AudioError", "StoppedBySignal", "DiskError", "warning", "info"}
OF_PYTHON = {"normalize", "sample_rate", "heads"}
"""Arguments of `audio_ssl.load`."""


def words_of(node, constants):
    """Return the text of a message, with X for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(words_of(one, constants) for one in node.values)
    if isinstance(node, ast.FormattedValue):
        inner = node.value
        known = isinstance(inner, ast.Name) and inner.id in constants
        return constants[inner.id] if known else "X"
    if isinstance(node, ast.BinOp):
        return words_of(node.left, constants) + words_of(node.right, constants)
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    if isinstance(node, ast.IfExp):
        return f"{words_of(node.body, constants)}; {words_of(node.orelse, constants)}"
    return ""


def messages():
    """Yield what every error and every line of the log says, with its place."""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                text = words_of(node.value, constants)
                if text:
                    constants[node.targets[0].id] = text
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [one.value for one in node.keywords if one.arg == "remedy"]
            if name in CALLS:
                texts += node.args[:1]
            for one in texts:
                text = words_of(one, constants)
                if text.strip():
                    yield f"{path.relative_to(ROOT)}:{one.lineno}", text


MESSAGES = list(messages())


def commands_in(text):
    """Return the commands of a message: what stands between backticks, or from a colon on, or all of it."""
    quoted = [one for one in re.findall(r"`([^`]+)`", text) if one.startswith("audio-ssl ")]
    return quoted + re.findall(r"(?:^|: )(audio-ssl .*)", text)


def takes(command):
    """Let the command line read a command, without running it."""
    name, *rest = shlex.split(command)[1:]
    assert name in app, f"there is no command {name}"
    # A command that is only named, as in "`audio-ssl pretrain` fits it first", has no words to read.
    if rest:
        app.parse_args([name, *rest], exit_on_error=False, print_error=False)


def keys_of(cls, above=()):
    """Return all dotted keys of a config, with N for an index, parts of every kind included, none within itself."""
    found, above = set(), (*above, cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        found.add(field.name)
        for inner, several in inner_configs(hints[field.name]):
            if inner in above:
                continue
            prefix = f"{field.name}.N" if several else field.name
            found |= {f"{prefix}.{key}" for key in keys_of(inner, above)} | {f"{prefix}.kind"}
        if typing.get_origin(hints[field.name]) is dict:
            found.add(f"{field.name}.*")
    return found


def inner_configs(annotation, several=False):
    part = part_of(annotation)
    if part is not None:
        for kind in catalog.parts(part.folder):
            yield catalog.load_part(part.folder, kind).Config, several
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation, several
    else:
        for one in typing.get_args(annotation):
            yield from inner_configs(one, several or typing.get_origin(annotation) is tuple)


@pytest.fixture(scope="module")
def keys():
    found = set(OF_PYTHON) | {"manifests"}
    kinds = [catalog.load_part("pretrain/kinds", kind).Config for kind in catalog.parts("pretrain/kinds")]
    for cls in (*kinds, Probe, Study, Settings):
        found |= keys_of(cls)
    return found


def options_of(name):
    return {option for one in app[name].assemble_argument_collection() for option in one.names}


def test_messages_are_found():
    assert len(MESSAGES) > 400
    assert sum(bool(commands_in(text)) for _, text in MESSAGES) >= 8


@pytest.mark.parametrize(("place", "text"), [one for one in MESSAGES if "audio-ssl" in one[1]])
def test_every_command_that_is_printed_is_taken_as_printed(place, text):
    bare = re.sub(r"`[^`]+`", "", text)
    outside = re.findall(r"audio-ssl (?!COMMAND)\w+", re.sub(r"(^|: )audio-ssl .*", "", bare))
    assert outside == [], f"{place}: a command stands between backticks, or at the end: {text}"
    for command in commands_in(text):
        takes(command)


@pytest.mark.parametrize(("place", "text"), [one for one in MESSAGES if re.search(r"(?<!\S)`?--\w", one[1])])
def test_every_option_that_is_named_is_one(place, text):
    commands = [name for name in app if not name.startswith("-")]
    known = {option for name in commands for option in options_of(name)}
    # A command may have commands of its own, as `fairness plan`.
    known |= {
        option
        for name in commands
        for below in app[name]
        if not below.startswith("-")
        for one in app[name][below].assemble_argument_collection()
        for option in one.names
    }
    for option in re.findall(
        r"(?<![\w-])--[a-z][\w-]*", re.sub(r"`(?:iconv|hf|wandb)[^`]*`|pip install[^;]*", "", text)
    ):
        assert option in known, f"{place}: {option} in: {text}"


SETTING = re.compile(r"(?<![\w.{:=/%-])([a-z_]+(?:\.[A-Za-z0-9_]+)*)=(?=[^\s=,;)])")


@pytest.mark.parametrize(("place", "text"), [one for one in MESSAGES if SETTING.search(one[1])])
def test_every_setting_that_is_named_is_a_key(place, text, keys):
    # What follows an option is its own matter: --column text=NAME, --balance gender=F:0.5.
    plain = re.sub(r"--[\w-]+ \S+|of the form key=value", "", text)
    for key in SETTING.findall(plain):
        general = re.sub(r"\.(\d+|[A-Z])(?=\.|$)", ".N", key)
        known = general in keys or f"{general.rpartition('.')[0]}.*" in keys or key == "gender"
        assert known, f"{place}: {key}= in: {text}"


@pytest.mark.parametrize(("place", "text"), [one for one in MESSAGES if re.search(r"[=`]\{[^X]", one[1])])
def test_a_setting_that_is_printed_is_one_word_for_the_shell(place, text):
    for word in re.findall(r"(?<!['\w.])[a-z_.]+=\{[^}]*\}", text):
        assert " " not in word, f"{place}: quote or use dots: {text}"


def commands_of_texts():
    """Yield every command of the docs, and of the headers of recipes, probes and corpora, with its place."""
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs/guides").glob("*.md")),
    ):
        for block in path.read_text(encoding="utf-8").split("```")[1::2]:
            yield from ((path.name, line) for line in block.replace("\\\n", " ").splitlines() if "audio-ssl " in line)
    for folder in ("recipes", "probes", "corpora"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".yaml", ".py"):
                text = path.read_text(encoding="utf-8").replace("\\\n#", " ")
                yield from ((path.name, line) for line in re.findall(r"# Command +(audio-ssl .+)", text))
                yield from ((path.name, line) for line in re.findall(r"`(audio-ssl [^`]+)`", text) if "{" not in line)


@pytest.mark.parametrize(("place", "line"), sorted(set(commands_of_texts())))
def test_every_command_of_the_docs_is_taken_as_printed(place, line):
    if not re.match(r" *(\$ )?audio-ssl ", line) or "…" in line or "..." in line or "COMMAND" in line:
        return
    takes(
        shlex.join(shlex.split(line.strip().removeprefix("$ ").partition(" > ")[0].partition(" | ")[0], comments=True))
    )


def test_every_extra_that_is_printed_is_one():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(catalog.EXTRA_OF_PACKAGE.values()) <= extras.keys()
    for place, text in MESSAGES:
        for extra in re.findall(r"audio-ssl\[(\w+)\]", text):
            assert extra in extras, place

from pathlib import Path

from audio_ssl.artifacts.recipe_outline import RecipeOutline
from audio_ssl.artifacts.reconstructions import Reconstructions
from audio_ssl.artifacts.result import ResultOrigin
from audio_ssl.artifacts.run import RunFolder, RunRecord
from audio_ssl.report.run_summary import summarise_run
from audio_ssl.report.sections.provenance import provenance_section, provenance_table
from tests.report.summaries import make_probe, make_summary


def run(command):
    record = RunRecord(command=command or "")
    folder = RunFolder(Path("runs/run"), (), RecipeOutline(), record, (), (), Reconstructions())
    return summarise_run(folder, Path("reports"))


def commands(*runs, results=()):
    block = provenance_section(make_summary(results, runs=runs)).blocks[-1]
    assert block.id == "again"
    return block.commands


def test_commands_are_shown_as_typed():
    typed = ("audio-ssl demo --out 'my runs'",)
    assert commands(run("/opt/env/bin/audio-ssl demo --out 'my runs'")) == typed
    words = ResultOrigin(command=("python/audio_ssl/__main__.py", "demo", "--out", "my runs"))
    assert commands(results=[make_probe("asr", provenance=words)]) == typed


def test_one_command_that_made_several_artifacts_is_shown_once():
    same = make_probe("asr", provenance=ResultOrigin(command="audio-ssl demo"))
    assert commands(run("audio-ssl demo"), results=[same]) == ("audio-ssl demo",)


def test_a_missing_command_is_made_from_the_artifact():
    assert commands(run(None), results=[make_probe("asr", model="runs/a b")]) == (
        "audio-ssl pretrain runs/run/recipe.yaml --out runs/run-again",
        "audio-ssl probe runs/asr/probe.yaml 'runs/a b' --out runs/asr-again",
    )


def test_an_open_quote_does_not_stop_the_report():
    assert commands(run("echo 'x")) == ("'echo '\"'\"'x'",)


def test_nested_values_and_order():
    table = provenance_table("Run", {"z": [1, 2], "finished": True, "seed": 1, "a": {"b": None}, "e": []})
    assert table.rows == (("seed", "1"), ("finished", "yes"), ("a.b", "none"), ("e", "none"), ("z", "1, 2"))
    assert provenance_table("Run", {}) is None

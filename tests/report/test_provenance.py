import pytest

from audio_ssl.report.sections.provenance import provenance_section, provenance_table


def source(command, name="run"):
    recorded = {"command": command} if command else {}
    return {
        "name": name,
        "path": f"runs/{name}",
        "model": "runs/a b",
        "provenance": recorded,
    }


def commands(data):
    block = provenance_section({"runs": [], "results": [], "fairness": [], **data}).blocks[-1]
    assert block.id == "again"
    return block.commands


@pytest.mark.parametrize(
    "recorded",
    ["/opt/env/bin/audio-ssl demo --out 'my runs'", ["python/audio_ssl/__main__.py", "demo", "--out", "my runs"]],
)
def test_commands_are_shown_as_typed(recorded):
    assert commands({"runs": [source(recorded)]}) == ("audio-ssl demo --out 'my runs'",)


def test_one_command_that_made_several_artifacts_is_shown_once():
    assert commands({"runs": [source("audio-ssl demo")], "results": [source("audio-ssl demo")]}) == ("audio-ssl demo",)


def test_a_missing_command_is_made_from_the_artifact():
    assert commands({"runs": [source(None)], "results": [source(None, "asr")]}) == (
        "audio-ssl pretrain runs/run/recipe.yaml --out runs/run-again",
        "audio-ssl probe runs/asr/probe.yaml 'runs/a b' --out runs/asr-again",
    )


def test_an_open_quote_does_not_stop_the_report():
    assert commands({"runs": [source("echo 'x")]}) == ("'echo '\"'\"'x'",)


def test_nested_values_and_order():
    table = provenance_table("Run", {"z": [1, 2], "finished": True, "seed": 1, "a": {"b": None}, "e": []})
    assert table.rows == (("seed", "1"), ("finished", "yes"), ("a.b", "none"), ("e", "none"), ("z", "1, 2"))
    assert provenance_table("Run", {}) is None

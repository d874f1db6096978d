"""Frozen, adapted and fine-tuned results of one model: told apart by name, their costs beside one another."""

import json

import pytest

from audio_ssl.report.build import build_report
from audio_ssl.report.comparison import compare_models
from audio_ssl.report.inputs import read_input
from audio_ssl.report.paired import SystemPairs
from audio_ssl.report.probe_summary import summarise_probe
from audio_ssl.report.sections.tuning import tuning_section
from tests.report.models import tone, write_answer

WAYS = {
    "frozen": ("finetune: null", {"parameters": 1000, "fit_seconds": 10.0, "peak_memory_bytes": 10**9}),
    "lora": (
        "finetune: {lora: {rank: 8}}",
        {"parameters": 3000, "model_parameters": 2000, "fit_seconds": 30.0, "peak_memory_bytes": 2 * 10**9},
    ),
    "full": (
        "finetune: {lr: 1.0e-5, lora: null}",
        {"parameters": 81_000, "model_parameters": 80_000, "fit_seconds": 40.0, "peak_memory_bytes": 4 * 10**9},
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    audio = tone(folder / "audio", "tone", 440.0)
    made = []
    for way, (question, cost) in WAYS.items():
        out = folder / way
        write_answer(out, "runs/mert", "model", "asr", 24, audio)
        write_answer(out / "baselines/untrained", "runs/mert", "untrained", "asr", 24, audio)
        (out / "probe.yaml").write_text(question)
        scores = json.loads((out / "scores.json").read_text())
        scores["cost"] |= {"extract_seconds": 0.0, "predict_seconds": 0.0, "model_size": 100_000, **cost}
        (out / "scores.json").write_text(json.dumps(scores))
        made.append(out)
    return made


def section_of(folders):
    results = [read_input(one) for one in folders]
    comparison = compare_models(results, folders[0].parent, SystemPairs())
    summaries = [
        summarise_probe(result, folders[0].parent, SystemPairs(), names)
        for result, names in zip(results, comparison.of_results, strict=True)
    ]
    return comparison, tuning_section(summaries, comparison.questions)


def test_each_way_has_a_name_and_its_costs(folders):
    comparison, section = section_of(folders)
    assert comparison.systems[:3] == ("mert (frozen)", "mert (LoRA)", "mert (fine-tuned)")
    # A twin that was trained as its model was is not the one whose head alone was trained.
    assert "untrained twin of mert (LoRA)" in comparison.systems
    (block,) = section.blocks
    (table,) = block.tables
    rows = [[str(cell) for cell in row] for row in table.rows]
    assert [row[3:] for row in rows] == [
        ["1,000", "0", "10.0 s", "1.00 GB"],
        ["3,000", "2,000 (2 %)", "30.0 s", "2.00 GB"],
        ["81,000", "80,000 (80 %)", "40.0 s", "4.00 GB"],
    ]
    (said,) = block.lead
    assert "2.5 % as many weights" in said
    assert "0.75 times its training time" in said
    assert "0.50 times its memory" in said


def test_frozen_models_need_no_such_section(folders):
    comparison, section = section_of(folders[:1])
    assert comparison.systems[0] == "mert"
    assert section is None
    # Of one way alone, there is nothing to weigh it against.
    comparison, section = section_of(folders[1:2])
    assert comparison.systems[0] == "mert"
    assert section.blocks[0].lead == ()


def test_the_page_has_it(folders, tmp_path):
    page = build_report(folders, tmp_path / "report.html").read_text()
    assert "Frozen, adapted, fine-tuned" in page
    assert "mert (LoRA)" in page

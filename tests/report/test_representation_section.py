"""The blocks of what layers tell of an attribute: words, curve, table, and the gaps beside it."""

import math
from dataclasses import replace

from audio_ssl.artifacts.fairness_report import AttributeProbe
from audio_ssl.artifacts.records import from_json
from audio_ssl.report.html import Page, Section, render
from audio_ssl.report.sections.representation import representation_section
from tests.report.fairness_example import audit_of, whole_audit
from tests.report.fairness_example import gap as gap_row
from tests.report.meaning import in_order, numbers_in


def blocks_of(rows, gaps=()):
    """Return the blocks of probes and gaps; a gap may be of a model, named beside it."""
    models = {one.result: model for one, model in gaps}
    system = whole_audit().results[0]
    systems = tuple(replace(system, name=name, model_fingerprint=model) for name, model in models.items())
    probes = tuple(from_json(AttributeProbe, one, "probe") for one in rows)
    report = audit_of(*(one for one, _ in gaps), results=systems, representation=probes)
    section = representation_section(report)
    return section.blocks if section else ()


def layer(number, value, **more):
    return {
        "layer": number,
        "value": value,
        "low": value - 4,
        "high": value + 3,
        "control": 51.0,
        "control_low": 44.0,
        "control_high": 57.0,
        "compression": 1 + value / 50,
        "control_compression": 0.97,
        "selectivity": value - 51.0,
        **more,
    }


def row(*layers, **more):
    return {
        "result": "gender_layers",
        "model": "runs/base",
        "model_fingerprint": "abc",
        "attribute": "gender",
        "metric": "uar",
        "layers": list(layers) or [layer(0, 81.0), layer(1, 93.2), layer(2, 88.0)],
        "baselines": {"logmel": [layer(0, 79.5)], "untrained": [layer(0, 70.0), layer(1, 71.5), layer(2, 69.0)]},
        "groups": [{"group": "F", "speakers": 20, "clips": 400}, {"group": "M", "speakers": 1, "clips": 1}],
        "value": 92.1,
        "low": 88.0,
        "high": 95.0,
        "majority_uar": 50.0,
        "majority_accuracy": 61.0,
        "excluded": 3,
        "speakers": 40,
        "clips": 800,
        "warning": None,
        **more,
    }


def gap(model=None, **more):
    known = {"result": "asr", "value_a": 14.0, "value_b": 12.5, "difference": 2.0, "ratio": 1.12, "p_value": 0.3}
    return gap_row(**{**known, **more}), model


def said(block):
    return " ".join(map(str, (*block.lead, *block.points))).replace("\u00a0", " ")


def page(blocks):
    return render(Page("t", {"Answer": ["a"]}, (Section("r", "Layers", blocks),), "about", "r.json"))


def test_words_say_layer_control_baselines_and_what_it_is_not():
    (block,) = blocks_of([row()])
    text = said(block)
    best, control = text.split(". ")[:2]
    assert in_order(best, "Layer 1", "gender")
    assert numbers_in(best)[1:] == [93.2, 95, 89.2, 96.2]
    assert numbers_in(control) == [51.0]
    assert numbers_in(text.split("optimistic")[1])[:2] == [92.1, 95]
    assert in_order(text, "log-mel frames 79.5 %", "untrained twin 71.5 %")
    assert in_order(text, "Do not use it to infer a person's gender", "harm", "fairness", "Attanasio")
    assert block.points == ()
    assert block.warnings == ()


def test_gaps_of_the_same_attribute_and_model_stand_beside():
    gaps = [
        gap(),
        gap(by="age", a="20–29", b="30–39"),
        gap(result="other", model="xyz"),
        gap(result="same", model="abc"),
        gap(result="undefined", difference=math.nan),
    ]
    (block,) = blocks_of([row()], gaps)
    assert [point.partition(":")[0] for point in block.points] == ["asr", "same"]
    assert "Women's word error rate is 12 % higher than men's" in said(block)
    (many,) = blocks_of([row()], [gap()] * 9)
    assert numbers_in(many.points[-1]) == [3]


def test_the_curve_differs_by_marker_and_dash_and_reads_out():
    (block,) = blocks_of([row()])
    curve, bits = (str(figure.svg) for figure in block.figures)
    assert "layer 1 93.2" in curve
    for style in range(4):
        assert f"line-{style}" in curve
        assert f"marker-{style}" in curve
    assert curve.count("band band-") == 2
    assert "control" in curve
    assert 50.0 in numbers_in(block.figures[0].caption)
    assert "layer 2 2.76" in bits
    assert "shorter" in block.figures[1].caption


def test_the_table_has_every_layer_and_the_baselines_are_folded():
    (block,) = blocks_of([row()])
    table, baselines = block.tables
    assert [line[0] for line in table.rows] == ["layer 0", "layer 1", "layer 2"]
    assert [cell.replace("\u00a0", " ") for cell in table.rows[1][1:]] == [
        "93.2 % (89.2 to 96.2)",
        "51.0 % (44.0 to 57.0)",
        "+42.2",
        "2.86 (0.970)",
    ]
    notes = " ".join(table.notes).replace("\u00a0", " ")
    assert "women (F) 20 speakers, 400 clips; men (M) 1 speaker, 1 clip" in notes
    assert "61.0 % of the clips" in notes
    assert "3 clips excluded" in notes
    assert baselines.rows[0][0] == "log-mel frames, layer 0"
    assert baselines.folded


def test_few_speakers_have_a_warning_and_no_band():
    bare = [layer(n, 80.0 + n, low=None, high=None) for n in range(2)]
    (block,) = blocks_of([row(*bare, warning="fewer than 5 speakers", low=None, high=None)])
    assert block.warnings == ("fewer than 5 speakers",)
    assert "interval" not in said(block)
    assert str(block.figures[0].svg).count("band band-") == 1
    assert "interval" not in block.figures[0].caption.replace("\u00a0", " ")


def test_the_least_a_row_may_have():
    least = {"result": "r", "model": None, "attribute": "accent", "metric": "uar", "speakers": None, "clips": None}
    least |= {"warning": None, "layers": [{"layer": 0, "value": 60.0}], "baselines": {}}
    (block,) = blocks_of([least])
    assert in_order(said(block), "The only layer", "accent", "60.0 %")
    assert len(block.figures) == 1
    assert len(block.tables) == 1
    assert page((block,))
    assert blocks_of([{**least, "layers": []}, {**least, "layers": [{"layer": 0, "value": None}]}]) == ()


def test_names_are_escaped():
    hostile = row(result="<script>x</script>", attribute="<b>", baselines={"<i>": [layer(0, 70.0)]}, warning="<u>")
    text = page(blocks_of([hostile]))
    for tag in ("<script>x", "<b>", "<i>", "<u>"):
        assert tag not in text

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.report.figures.grids import bar_chart, confusion_matrix, heat_map, scatter, trial_histogram
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.figures.lines import WIDTH, Mark, Series, line_chart, spread
from audio_ssl.report.svg import CHARACTER_WIDTH, element, scale, shape, text


def numbers_of(svg, tag, *names):
    return [[float(one.get(name)) for name in names] for one in ET.fromstring(svg).iter(tag)]


def assert_inside(svg):
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    for one in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(one.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(one.get(name, 0)) <= height


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.3, 9.2), (-4, 7), (1e-5, 4e-4), (12, 12), (0, 0), (1e6, 3.2e6), (-3, -2.9)]
)
def test_scale_covers_its_data_with_few_round_ticks(low, high):
    axis = scale(low, high, 0, 100)
    assert axis.low <= low
    assert axis.high >= high
    assert 2 <= len(axis.ticks) <= 9
    assert len(set(axis.labels())) == len(axis.ticks)
    assert axis(axis.low) == pytest.approx(0)
    assert axis(axis.high) == pytest.approx(100)


def test_text_and_attributes_are_escaped():
    found = element("text", "<b>", class_='"x"')
    assert str(found) == '<text class="&#34;x&#34;">&lt;b&gt;</text>'
    assert "&lt;script&gt;" in text(0, 0, "<script>")


def test_line_chart_stays_inside_and_is_labelled():
    series = [Series(f"book {n}", [1, 2, 3], [n, n + 1.0, n * 2.0], style=n) for n in range(8)]
    svg = line_chart("f", "Title", "Words.", series, x_label="step", marks=[Mark(3, 14, "layer 3")])
    assert_inside(svg)
    root = ET.fromstring(svg)
    assert root.get("aria-labelledby") == "f-title f-desc"
    assert [one.text for one in root.iter("title")] == ["Title"]
    said = [one.text for one in root.iter("text")]
    assert {f"book {n}" for n in range(8)} <= set(said)


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e-9, 2e-9]])
def test_line_chart_of_degenerate_data(values):
    assert_inside(line_chart("f", "t", "d", [Series("a", list(range(len(values))), values)], x_label="step"))


def test_end_labels_are_pushed_apart_and_kept_inside():
    places = spread([10, 11, 12, 99], 0, 100)
    assert all(after - before >= 12.99 for before, after in pairwise(places))
    assert places[-1] <= 100
    crowded = spread([98, 99, 100], 0, 100)
    assert crowded == pytest.approx([74, 87, 100])


def test_interval_chart_places_dots_in_order_of_value():
    dots = [Dot("a", 10, 5, 15), Dot("b", 30, 20, 40, "square"), Dot("c", 20, shape="diamond")]
    svg = interval_chart("f", "t", "d", dots, axis_label="WER", unit="%", higher_is_better=False)
    assert_inside(svg)
    said = [one.text for one in ET.fromstring(svg).iter("text")]
    assert "WER, better this way" in said
    assert "10.0\u00a0%" in said
    assert "0" in said, "without an interval the axis begins at zero"


def test_gaps_have_zero_in_the_middle():
    svg = interval_chart("f", "t", "d", [Dot("F − M", 4.0, 1.0, 7.0)], axis_label="gap", zero=("better", "worse"))
    dashed = [one for one in ET.fromstring(svg).iter("line") if one.get("class") == "zero"]
    axis = next(one for one in ET.fromstring(svg).iter("line") if one.get("class") == "axis")
    assert float(dashed[0].get("x1")) == pytest.approx((float(axis.get("x1")) + float(axis.get("x2"))) / 2, abs=0.01)


@pytest.mark.parametrize("kind", ["circle", "square", "diamond", "triangle"])
def test_shapes_differ_in_outline(kind):
    others = {"circle", "square", "diamond", "triangle"} - {kind}
    assert str(shape(kind, 0, 0, "x")) not in {str(shape(other, 0, 0, "x")) for other in others}


def test_confusion_matrix_writes_its_counts():
    svg, width = confusion_matrix("f", "t", ["C", "D"], [[3, 1], [0, 2]])
    assert float(ET.fromstring(svg).get("viewBox").split()[2]) == pytest.approx(width, abs=0.01)
    assert_inside(svg)
    root = ET.fromstring(svg)
    cells = [one.text for one in root.iter("text") if (one.get("class") or "").startswith("cell-count")]
    assert cells == ["3", "1", "2"]
    assert "5 of 6 clips" in next(root.iter("desc")).text
    assert [one.get("style") for one in root.iter("rect")] == [f"--share:{s}" for s in ("0.75", "0.25", "0.00", "1.00")]


def test_bars_are_as_tall_as_their_values():
    svg = bar_chart("f", "t", "d", ["0", "1"], [0.25, 0.5], "layer")
    assert_inside(svg)
    (first,), (second,) = numbers_of(svg, "rect", "height")
    assert second == pytest.approx(2 * first, abs=0.02)


def test_heat_map_shades_by_goodness_and_writes_its_values():
    values = [[10.0, None], [30.0, 20.0]]
    for higher, shares in ((True, ["0.00", "0.00", "1.00", "0.50"]), (False, ["1.00", "0.00", "0.00", "0.50"])):
        svg, width = heat_map(
            "f", "t", "d", ["0", "1"], ["0.1", "1"], values,
            written=[["10", "×"], ["30", "20"]], marks=[(1, 0)], higher_is_better=higher,
        )  # fmt: skip
        assert_inside(svg)
        root = ET.fromstring(svg)
        assert width == pytest.approx(float(root.get("viewBox").split()[2]))
        assert [one.get("style") for one in root.iter("rect") if one.get("style")] == [f"--share:{s}" for s in shares]
        assert [one.text for one in root.iter("text") if "cell-count" in one.get("class")] == ["10", "×", "30", "20"]
        assert sum(one.get("class") == "ring" for one in root.iter("rect")) == 1


def test_scatter_has_one_scale_for_both_axes():
    svg = scatter("f", "t", "d", [[0.0, 1.0], [2.0, -1.0]])
    assert_inside(svg)
    places = numbers_of(svg, "circle", "cx", "cy")
    (line,) = [one for one in ET.fromstring(svg).iter("line") if one.get("class") == "zero"]
    slope = (float(line.get("y2")) - float(line.get("y1"))) / (float(line.get("x2")) - float(line.get("x1")))
    assert slope < 0
    assert places[0][0] < places[1][0]
    assert places[0][1] < places[1][1]


def test_trial_histogram_tells_kinds_apart_without_colour():
    svg = trial_histogram("f", "t", "d", [0.0, 0.5, 1.0], [0.1, 0.9], [0.8, 0.2], 0.5, "equal error 15 % at 0.5")
    assert_inside(svg)
    root = ET.fromstring(svg)
    assert {"same", "different", "equal error 15 % at 0.5"} <= {one.text for one in root.iter("text")}
    assert {"line line-0", "line line-1"} <= {one.get("class") for one in root.iter("path")}
    (threshold,) = [one for one in root.iter("line") if one.get("class") == "threshold"]
    axis = next(one for one in root.iter("line") if one.get("class") == "axis")
    assert float(threshold.get("x1")) == pytest.approx((float(axis.get("x1")) + float(axis.get("x2"))) / 2, abs=0.01)


def test_a_legend_names_every_line_in_full():
    names = [f"untrained twin of a long name {n}" for n in range(6)]
    series = [Series(name, [0, 1], [n, n + 1.0], style=n) for n, name in enumerate(names)]
    svg = line_chart("f", "t", "d", series, x_label="layer", legend=True, marks=[Mark(1, 2.0, "")])
    assert_inside(svg)
    said = {one.text for one in ET.fromstring(svg).iter("text")}
    assert set(names) <= said


def test_shares_are_of_the_row():
    svg, _ = confusion_matrix("f", "t", ["C", "D"], [[3, 1], [0, 2]], shares=True)
    cells = [one.text for one in ET.fromstring(svg).iter("text") if (one.get("class") or "").startswith("cell-count")]
    assert cells == ["75", "25", "100"]


@given(
    st.floats(-1e9, 1e9, allow_nan=False),
    st.floats(0, 1e9, allow_nan=False) | st.floats(1e-9, 1e-3),
    st.booleans(),
)
def test_no_two_ticks_have_one_label_and_each_label_is_its_tick(low, width, tight):
    axis = scale(low, low + width, 0, 100, tight=tight)
    labels = axis.labels()
    assert len(axis.ticks) >= 2
    assert len(set(labels)) == len(labels), labels
    step = min(b - a for a, b in pairwise(axis.ticks))
    for tick, label in zip(axis.ticks, labels, strict=True):
        assert float(label.replace("−", "-").replace(",", "")) == pytest.approx(tick, abs=step / 100)


@pytest.mark.parametrize(("values", "labels"), [
    ((0.0, 5e-4), ["0", "1e−4", "2e−4", "3e−4", "4e−4", "5e−4"]),
    ((0.50001, 0.50004), ["0.50001", "0.50002", "0.50003", "0.50004"]),
    ((0.1, 0.2), ["0.10", "0.12", "0.14", "0.16", "0.18", "0.20"]),
    ((1.0, 1.0), ["0.90", "0.95", "1.00", "1.05", "1.10"]),
    ((0.0, 3e7), ["0", "1e7", "2e7", "3e7"]),
])  # fmt: skip
def test_labels_of_small_and_large_ranges(values, labels):
    assert scale(*values, 0, 100).labels() == labels


@pytest.mark.parametrize(("steps", "labels"), [
    ([1, 2, 3], ["1", "2", "3"]), ([7], ["7"]), ([1, 400], ["100", "200", "300", "400"]), ([0, 1], ["0", "1"]),
])  # fmt: skip
def test_steps_have_whole_ticks(steps, labels):
    chart = line_chart("f", "Loss", "", [Series("", steps, [1.0] * len(steps))], x_label="step")
    found = [
        one.text
        for one in ET.fromstring(chart).iter()
        if one.get("class") == "tick" and one.get("text-anchor") == "middle"
    ]
    assert found == labels


def test_the_last_label_of_an_axis_is_not_cut_off():
    chart = line_chart("f", "Loss", "", [Series("", [0, 400_000], [1.0, 2.0])], x_label="step")
    last = next(one for one in ET.fromstring(chart).iterfind(".//text[@class='tick']") if one.text == "400,000")
    assert float(last.get("x")) + len(last.text) * CHARACTER_WIDTH / 2 <= WIDTH

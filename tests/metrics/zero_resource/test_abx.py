from itertools import product

import numpy as np
import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.dtw import dtw_pairs
from audio_ssl.metrics.families.zero_resource import AbxItem, abx


def tokens(seed=0, per_group=3, spread=1.0, speakers="uvw", labels="abc", contexts="12"):
    rng = np.random.default_rng(seed)
    centres = {label: rng.normal(size=6) for label in labels}
    shifts = {speaker: 0.6 * rng.normal(size=6) for speaker in speakers}
    items = []
    for label, context, speaker in product(labels, contexts, speakers):
        for _ in range(int(rng.integers(1, per_group + 1))):
            frames = centres[label] + shifts[speaker] + spread * rng.normal(size=(int(rng.integers(2, 6)), 6))
            items.append(AbxItem(label, context, speaker, torch.tensor(frames, dtype=torch.float32)))
    return items


def by_hand(items, across):
    """Loop over all triples; average over contexts and X's speakers, speakers of A and B, pairs."""

    def distance(x, y):
        return float(dtw_pairs([items[min(x, y)].frames], [items[max(x, y)].frames], [(0, 0)]))

    table = {(i, j): distance(i, j) for i in range(len(items)) for j in range(len(items)) if i != j}
    cells = {}
    for (i, a), (j, b), (k, x) in product(enumerate(items), repeat=3):
        fits = a.label == x.label != b.label and a.context == b.context == x.context and a.speaker == b.speaker
        if i == k or not fits or (a.speaker == x.speaker) == across:
            continue
        error = 0.5 if table[k, i] == table[k, j] else float(table[k, i] > table[k, j])
        cells.setdefault((a.label, b.label), {}).setdefault(a.speaker, {}).setdefault(
            (a.context, x.speaker), []
        ).append(error)
    pairs = {
        pair: np.mean([np.mean([np.mean(errors) for errors in inner.values()]) for inner in speakers.values()])
        for pair, speakers in cells.items()
    }
    return 100 * np.mean(list(pairs.values())), pairs


@pytest.mark.parametrize("mode", ["within", "across"])
def test_equal_to_loops_over_triples(mode):
    items = tokens(spread=2.0)
    result = abx(items, mode, max_group=None, max_x_speakers=None)
    value, pairs = by_hand(items, mode == "across")
    assert result.value == pytest.approx(value)
    assert {(row.a, row.b): row.error for row in result.pairs} == pytest.approx({p: 100 * e for p, e in pairs.items()})
    assert 5 < value < 50


def test_order_of_averaging():
    # One speaker has two contexts, the other one: contexts are averaged before speakers.
    def item(label, context, speaker, *degrees):
        angles = torch.deg2rad(torch.tensor([*degrees], dtype=torch.float32))
        return [AbxItem(label, context, speaker, torch.stack([angle.cos(), angle.sin()])[None]) for angle in angles]

    items = [
        *item("a", "1", "u", 0, 10), *item("b", "1", "u", 90),
        *item("a", "2", "u", 0, 90), *item("b", "2", "u", 45),
        *item("a", "1", "v", 0, 90), *item("b", "1", "v", 45),
    ]  # fmt: skip
    result = abx(items, "within")
    cells = {(cell.context, cell.speaker): cell.error for cell in result.cells}
    assert cells == {("1", "u"): 0.0, ("2", "u"): 100.0, ("1", "v"): 100.0}
    assert [(row.a, row.b, row.error, row.speakers, row.cells, row.triples) for row in result.pairs] == [
        ("a", "b", 75.0, 2, 3, 6)
    ]
    assert result.value == 75.0


def test_equal_distances_are_half_an_error_and_noise_is_chance():
    same = torch.ones(2, 3)
    items = [AbxItem(label, "", "u", same) for label in "aabb"]
    assert abx(items).value == 50.0
    generator = torch.Generator().manual_seed(0)
    noise = [AbxItem(label, "", "u", torch.randn(3, 8, generator=generator)) for label in "abc" * 12]
    assert 40 < abx(noise, max_group=None).value < 60
    assert abx(tokens(spread=0.01), "within").value == 0.0


def test_limits_draw_by_the_seed():
    items = tokens(per_group=8, spread=2.0, speakers="uvwxyz", contexts="1")
    first, again, other = (abx(items, "across", max_group=2, max_x_speakers=2, seed=seed) for seed in (0, 0, 1))
    assert first.value == again.value != other.value
    assert max(cell.triples for cell in first.cells) == 8
    per_ab = {}
    for cell in first.cells:
        per_ab.setdefault((cell.a, cell.b, cell.speaker), set()).add(cell.x_speaker)
        assert cell.x_speaker != cell.speaker
    assert {len(names) for names in per_ab.values()} == {2}
    assert first.signature == "abx across|angular|dtw over steps|group:2|x_speakers:2|seed:0"


def test_interval_over_speakers():
    result = abx(tokens(spread=2.0, speakers="uvwxyz"), "within")
    interval = result.interval()
    assert interval.value == result.value
    assert interval.low < interval.value < interval.high
    assert np.isnan(abx(tokens(speakers="u")).interval().low)


def test_nothing_to_compare():
    result = abx([AbxItem("a", "", "u", torch.ones(1, 2)), AbxItem("b", "", "v", torch.ones(1, 2))])
    assert np.isnan(result.value)
    assert result.pairs == []


def test_wrong_input_is_refused():
    with pytest.raises(UserError, match="`mode` must be `within` or `across`, but is `both`"):
        abx([], "both")
    with pytest.raises(UserError, match="`max_group` must be at least 2"):
        abx([], max_group=1)
    with pytest.raises(UserError, match="has no frames"):
        abx([AbxItem(label, "", "u", torch.ones(0, 2)) for label in "aab"])

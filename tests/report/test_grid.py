"""The grid of a probe's runs, where its layers were asked both standardised and whitened."""

from audio_ssl.artifacts.records import from_json
from audio_ssl.artifacts.result import ProbeScores
from audio_ssl.report.probe_summary import make_grid


def grid_of(runs, chosen):
    scores = {"task": "key", "main_metric": "accuracy", "metrics": {}, "runs": runs, "chosen": chosen}
    return make_grid(from_json(ProbeScores, scores, "scores.json"))


def test_of_both_ways_the_grid_shows_the_chosen_one():
    runs = [
        {"layer": layer, "lr": 0.1, "seed": 0, "whiten": whiten, "valid": 10.0 * layer + 50 * whiten, "fold": fold}
        for layer in (0, 1)
        for whiten in (False, True)
        for fold in (0, 1)
    ]
    one = {"layer": 1, "lr": 0.1, "seed": 0}
    both = grid_of(runs, [{**one, "whiten": True}, {**one, "whiten": False}])
    assert both.valid == ((25.0, 35.0),)
    whitened = grid_of([r for r in runs if r["fold"] == 0], {**one, "whiten": True})
    assert whitened.valid == ((50.0, 60.0),)
    # Results of before do not say it.
    older = [{key: value for key, value in run.items() if key != "whiten"} for run in runs if not run["whiten"]]
    assert grid_of(older, [one, one]).valid == ((0.0, 10.0),)

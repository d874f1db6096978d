"""A fairness report with a row of every kind, as the fairness stage writes it; made-up but plausible numbers."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

from audio_ssl.artifacts.fairness import GroupComparison, blank
from audio_ssl.artifacts.fairness_report import FairnessReport, fairness_of
from audio_ssl.artifacts.records import from_json
from audio_ssl.base.documents import parse_object

HOSTILE = 'the <script>alert("x")</script> cat | sat `on` [it](http://x)\n# no heading'
SYSTEMS = ("whisper-tiny.en", "hubert-ctc")
_SHA256 = "6f1ed002ab5595859014ebf0951522d96f1ed002ab5595859014ebf0951522d9"
_METRICS: dict[str, tuple[str, bool]] = {
    "wer": ("%", False),
    "cer": ("%", False),
    "eer": ("%", False),
    "term_coverage": ("%", True),
}
_OF_SCORES = (
    "value_a", "value_b", "difference", "relative_symmetric", "relative_to_b", "ratio", "speakers_a", "speakers_b",
)  # fmt: skip
_REFUSAL = "group 70–79 has 3 speakers, and at least 5 a group are needed"
_WARNING = "only 12 speakers in the smaller group: small gaps cannot be found"


def fairness_schema() -> dict[str, Any]:
    """Return the schema of what ``audio-ssl fairness`` writes beside its page."""
    file = files("audio_ssl.report").joinpath("schemas", "fairness.json")
    return parse_object(file.read_bytes(), file.name)


def fairness_report() -> dict[str, Any]:
    """Return the whole report: two recognisers, one verifier, one translator."""
    groups, comparisons, spread = [], [], []
    for system, shift in zip(SYSTEMS, (0.0, 4.0), strict=True):
        for metric, factor in (("wer", 1.0), ("cer", 0.4)):
            common = _common(system, "gender", metric)
            women, men = factor * (17.3 + 1.4 * shift), factor * (15.1 + shift)
            groups += [
                _group(common, "F", women, 24, 410),
                _group(common, "M", men, 26, 433),
                _group(common, "unknown", factor * 19.9, 4, 31, known=False),
                _group(common, "all", (women + men) / 2, 54, 874, total=True),
            ]
            p_value = 0.0021 if shift else 0.184
            comparisons.append(_comparison(common, ("F", women), ("M", men), p_value, compared=4))
            spread.append(_spread(common, 2, ("F", women), ("M", men), (women + men) / 2))
    ages = {"20–29": (16.9, 22), "30–39": (14.8, 19), "40–49": (15.9, 12), "70–79": (24.1, 3)}
    common = _common(SYSTEMS[0], "age", "wer")
    groups += [_group(common, name, value, n, 16 * n) for name, (value, n) in ages.items() if n >= 5]
    groups.append(_group(common, "all", 16.2, 53, 848, total=True))
    spread.append(_spread(common, 3, ("20–29", 16.9), ("30–39", 14.8), 16.2))
    names = list(ages)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            ends = (first, ages[first][0]), (second, ages[second][0])
            refused = _REFUSAL if "70–79" in (first, second) else None
            warning = _WARNING if "40–49" in (first, second) and not refused else None
            row = _comparison(common, *ends, 0.03, compared=3, refused=refused, warning=warning)
            comparisons.append(row | dict.fromkeys(_OF_SCORES) if refused else row)
    common = _common(SYSTEMS[0], "gender × age", "wer")
    groups += [
        _group(common, f"{gender} × {age}", value + (2 if gender == "F" else 0), 11, 176)
        for gender in "FM"
        for age, (value, _) in list(ages.items())[:2]
    ]
    spread.append(_spread(common, 4, ("F × 20–29", 18.9), ("M × 30–39", 14.8), 16.2))
    common = _common("ecapa", "gender", "eer")
    groups += [_group(common, "F", 3.1, 24, 4800), _group(common, "M", 2.6, 26, 5200)]
    comparisons.append(_comparison(common, ("F", 3.1), ("M", 2.6), 0.41, compared=1))
    common = _common("st-small", "category", "term_coverage")
    covered = {"1F": 58.0, "1M": 66.0, "2F": 61.0, "2M": 63.0}
    groups += [_group(common, name, value, 9, 140) for name, value in covered.items()]
    comparisons.append(_comparison(common, ("1F", 58.0), ("1M", 66.0), 0.012, compared=2, warning=_WARNING))
    return {
        "kind": "fairness",
        "schema_version": 3,
        "results": [
            _result(SYSTEMS[0], "asr"),
            _result(SYSTEMS[1], "asr"),
            _result("ecapa", "asv"),
            _result("st-small", "st"),
        ],
        "groups": [row for row in groups if not row["total"]],
        "totals": [row for row in groups if row["total"]],
        "suppressed": [
            _hidden("age", "70–79", 3, "fewer than 5 speakers"),
            _hidden("gender × age", "F × 70–79", 2, "fewer than 5 speakers"),
            _hidden("gender × age", "M × 70–79", 1, "fewer than 5 speakers"),
        ],
        "statement": {"date": "2026-01-31", "test_set": "LibriSpeech test-other", "tolerance": None},
        "spread": spread,
        "comparisons": comparisons,
        "models": [_model(SYSTEMS[0], 1.15, 1.08), _model(SYSTEMS[1], 1.2, 1.19), _refused_model("st-small")],
        "gap_differences": [_gap_difference("wer", -1.6, 0.034), _gap_difference("cer", -0.64, None)],
        "representation": [_representation()],
        "examples": [
            _example("F", "clip-1", HOSTILE, "the cat <b>sat</b>", 80.0),
            _example("F", "clip-2", "a second one", "", 100.0),
            _example("M", "clip-3", "one more sentence", "one more sentences", 33.3),
        ],
        "excluded": [
            {"result": SYSTEMS[0], "reason": "no speaker is recorded", "count": 31, "names": ["a1", "a2", "<b>"]},
            {"result": SYSTEMS[0], "reason": "recorded as gender F and M", "count": 2, "names": ["s9"]},
        ],
        "limits": [
            "A gap on these clips is a statement about these clips and these speakers.",
            "Groups are as the corpus recorded them; nothing about a person was inferred.",
        ],
        "provenance": {
            "by": ["gender", "age"],
            "seed": 0,
            "replicates": 10_000,
            "permutations": 10_000,
            "min_speakers": 5,
            "min_group_speakers": 5,
            "inputs": [
                {"result": name, "role": "predictions", "path": f"results/{name}.parquet", "sha256": _SHA256}
                for name in (*SYSTEMS, "st-small")
            ],
            "versions": {"audio_ssl": "0.1.0", "numpy": "2.3.5", "scipy": "1.16.3"},
            "command": "audio-ssl fairness a.parquet b.parquet --by gender --by age --out report.html",
        },
    }


def whole_audit() -> FairnessReport:
    """Return `fairness_report` as the report's own reader gives it."""
    return fairness_of(fairness_report(), "the example")


def gap(**known: Any) -> GroupComparison:
    """Return a gap of women and men in word error rate of which nothing but `known` is known."""
    common = {"result": "", "by": "gender", "metric": "wer", "unit": "%", "higher_is_better": False}
    common |= {"a": "F", "b": "M", "compared": 0, "direction": ""}
    return GroupComparison(**{**blank(GroupComparison), **common, **known})


def audit_of(*comparisons: GroupComparison, **parts: Any) -> FairnessReport:
    """Return a report of these comparisons, and of the rows that `parts` names."""
    origin = {"by": [], "seed": 0, "replicates": 10_000, "min_speakers": 5, "inputs": [], "versions": {}}
    empty = {"groups": [], "comparisons": [], "limits": [], "provenance": origin}
    return replace(fairness_of(empty, "nothing"), comparisons=comparisons, **parts)


def _common(result: str, by: str, metric: str) -> dict[str, Any]:
    unit, higher = _METRICS[metric]
    return {"result": result, "by": by, "metric": metric, "unit": unit, "higher_is_better": higher}


def _result(name: str, task: str) -> dict[str, Any]:
    metrics = {"asr": ["wer", "cer"], "asv": ["eer"], "st": ["term_coverage"]}[task]
    return {
        "name": name,
        "path": f"results/{name}.parquet",
        "sha256": _SHA256,
        "system": None,
        "version": None,
        "task": task,
        "clips": 874,
        "speakers": 54,
        "hours": 1.42 if task == "asr" else None,
        "metrics": metrics,
        "signature": "lower case, no punctuation; female and f were read as F",
    }


def _group(
    common: dict[str, Any], name: str, value: float, speakers: int, clips: int, known: bool = True, total: bool = False
) -> dict[str, Any]:
    half = None if speakers < 5 else 6.5 / speakers**0.5 + 0.06 * value
    return {
        **common,
        "group": name,
        "known": known,
        "value": value,
        "low": None if half is None else value - half,
        "high": None if half is None else value + 1.1 * half,
        "speakers": speakers,
        "clips": clips,
        "hours": clips * 5.8 / 3600,
        "words": clips * 14,
        "empty_references": 1 if name == "unknown" else 0,
        "total": total,
    }


def _hidden(by: str, group: str, speakers: int, reason: str) -> dict[str, Any]:
    row = {"result": SYSTEMS[0], "by": by, "groups": [group], "speakers": speakers, "clips": 16 * speakers}
    return row | {"reason": reason}


def _spread(
    common: dict[str, Any], groups: int, worst: tuple[str, float], best: tuple[str, float], overall: float
) -> dict[str, Any]:
    return {
        **common,
        "groups": groups,
        "worst": worst[0],
        "best": best[0],
        "difference": worst[1] - best[1],
        "ratio": worst[1] / best[1],
        "overall": overall,
    }


def _comparison(
    common: dict[str, Any],
    first: tuple[str, float],
    second: tuple[str, float],
    p_value: float,
    compared: int,
    refused: str | None = None,
    warning: str | None = None,
) -> dict[str, Any]:
    (a, x), (b, y) = first, second
    gap, ratio = x - y, x / y
    relative = 100 * gap / (0.5 * (x + y))
    reach = 2.1 if p_value > 0.05 else 0.6
    row = {
        **common,
        "a": a,
        "b": b,
        "value_a": x,
        "value_b": y,
        "speakers_a": 24,
        "speakers_b": 26,
        "difference": gap,
        "low": gap - reach * abs(gap),
        "high": gap + reach * abs(gap),
        "low_90": gap - 0.84 * reach * abs(gap),
        "high_90": gap + 0.84 * reach * abs(gap),
        "standard_error": reach * abs(gap) / 2,
        "degrees_of_freedom": 48.0,
        "tolerance": None,
        "relative_symmetric": relative,
        "relative_symmetric_low": relative - reach * abs(relative),
        "relative_symmetric_high": relative + reach * abs(relative),
        "relative_to_b": 100 * gap / y,
        "ratio": ratio,
        "ratio_low": ratio * (1 - reach * abs(ratio - 1) / ratio),
        "ratio_high": ratio * (1 + reach * abs(ratio - 1) / ratio),
        "p_value": p_value,
        "p_exact": False,
        "assignments": 10_000,
        "p_holm": min(1.0, p_value * compared),
        "compared": compared,
        "minimum_detectable": 4.1,
        "minimum_detectable_relative": 25.3,
        "direction": f"the {common['metric']} of {a} differs from that of {b}",
        "refused": refused,
        "warning": warning,
    }
    if refused:
        undefined = (
            "low high low_90 high_90 standard_error degrees_of_freedom "
            "relative_symmetric_low relative_symmetric_high ratio_low ratio_high p_value p_exact "
            "assignments p_holm minimum_detectable minimum_detectable_relative"
        )
        row |= dict.fromkeys(undefined.split())
    return row | {"verdict": from_json(GroupComparison, row, "the example").verdict}


def _model(result: str, crude: float, ratio: float) -> dict[str, Any]:
    return {
        **_common(result, "gender", "wer"),
        "a": "F",
        "b": "M",
        "covariates": ["seconds", "words_per_second", "level_dbfs"],
        "ratio": ratio,
        "low": ratio * 0.91,
        "high": ratio * 1.1,
        "p_value": 0.31 if ratio < 1.1 else 0.004,
        "crude_ratio": crude,
        "speaker_sd": 0.42,
        "dispersion": 1.31,
        "clips": 843,
        "speakers": 50,
        "refused": None,
        "warning": None,
        "covariate_ratios": {
            "seconds": {"value": 0.97, "low": 0.95, "high": 0.99, "per": "1 s"},
            "words_per_second": {"value": 1.21, "low": 1.1, "high": 1.33, "per": "1 word/s"},
            "level_dbfs": {"value": 0.99, "low": 0.98, "high": 1.01, "per": "1 dB"},
        },
    }


def _refused_model(result: str) -> dict[str, Any]:
    empty = dict.fromkeys(("ratio", "low", "high", "p_value", "crude_ratio", "speaker_sd", "dispersion"))
    row = {**_model(result, 1.0, 1.0), **empty, "covariates": [], "covariate_ratios": {}}
    return {**row, "clips": 9, "speakers": 2, "refused": "too few speakers for a model: 2, and at least 10 are needed"}


def _gap_difference(metric: str, difference: float, p_value: float | None) -> dict[str, Any]:
    refused = None if p_value is not None else "the two systems share only 3 speakers of group F"
    common = _common(SYSTEMS[0], "gender", metric)
    del common["result"]
    return {
        **common,
        "result_a": SYSTEMS[0],
        "result_b": SYSTEMS[1],
        "a": "F",
        "b": "M",
        "gap_a": 2.2,
        "gap_b": 2.2 - difference,
        "difference": difference,
        "low": None if refused else difference - 1.4,
        "high": None if refused else difference + 1.5,
        "p_value": p_value,
        "p_holm": p_value,
        "compared": 1,
        "clips": 843,
        "speakers": 50,
        "refused": refused,
        "warning": None,
        "direction": "",
    }


def _representation() -> dict[str, Any]:
    layers = [
        {
            "layer": layer,
            "value": 99.1 - 2.4 * layer,
            "low": 97.0 - 2.4 * layer,
            "high": 99.8 - 2.3 * layer,
            "control": 51.0,
            "control_low": 44.0,
            "control_high": 57.0,
            "compression": 9.5 - layer,
            "control_compression": 0.98,
            "selectivity": 48.1 - 2.4 * layer,
        }
        for layer in range(5)
    ]
    return {
        "result": SYSTEMS[1],
        "model": "runs/base",
        "attribute": "gender",
        "metric": "accuracy",
        "layers": layers,
        "baselines": {"logmel": layers[:1]},
        "speakers": 50,
        "clips": 843,
        "warning": None,
    }


def _example(group: str, clip: str, reference: str, hypothesis: str, value: float) -> dict[str, Any]:
    return {
        "result": SYSTEMS[0],
        "by": "gender",
        "group": group,
        "id": clip,
        "speaker": "s1",
        "reference": reference,
        "hypothesis": hypothesis,
        "metric": "wer",
        "value": value,
    }

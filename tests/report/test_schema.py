import pytest
from jsonschema import Draft202012Validator

from tests.report.fairness_example import fairness_report, fairness_schema

PARTS = (
    "results", "groups", "totals", "suppressed", "spread", "comparisons", "models", "gap_differences", "representation",
    "examples", "excluded",
)  # fmt: skip


def first_rows():
    """Return the example with one row of each kind, which is quick to check."""
    report = fairness_report()
    return {key: value[:1] if key in PARTS else value for key, value in report.items()}


@pytest.fixture(scope="module")
def validator():
    schema = fairness_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults(validator, report):
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(report)]


def test_a_report_with_every_kind_of_row_fits(validator):
    report = fairness_report()
    assert all(report[part] for part in PARTS)
    assert faults(validator, report) == []


@pytest.mark.parametrize("part", PARTS)
def test_rows_may_have_no_other_keys(validator, part):
    report = first_rows()
    report[part][0]["another"] = 1
    assert faults(validator, report)


def keys_of_rows():
    report = first_rows()
    return [(part, key) for part in PARTS for key in report[part][0]]


@pytest.mark.parametrize(("part", "key"), keys_of_rows())
def test_rows_must_have_every_key(validator, part, key):
    report = first_rows()
    del report[part][0][key]
    assert faults(validator, report)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("groups", "value", "12"),
        ("groups", "speakers", -1),
        ("groups", "known", None),
        ("comparisons", "p_value", 1.2),
        ("comparisons", "minimum_detectable", -1.0),
        ("comparisons", "refused", False),
        ("models", "covariate_ratios", {"seconds": {"value": 1.0}}),
        ("models", "ratio", -0.1),
        ("gap_differences", "speakers", 1.5),
        ("excluded", "names", [str(index) for index in range(11)]),
        ("results", "sha256", "not one"),
    ],
)
def test_values_out_of_their_range_are_faults(validator, part, key, value):
    report = first_rows()
    report[part][0][key] = value
    assert faults(validator, report)


def test_whole_report_has_its_kind_version_and_nothing_else(validator):
    for change in ({"kind": "report"}, {"schema_version": 1}, {"another": []}):
        assert faults(validator, {**first_rows(), **change})
    for key in ("limits", "provenance", *PARTS):
        report = first_rows()
        del report[key]
        assert faults(validator, report)


def test_every_key_is_described():
    def undescribed(schema, path):
        for name, inner in schema.get("properties", {}).items():
            if "$ref" not in inner and "description" not in inner:
                yield f"{path}/{name}"
            yield from undescribed(inner, f"{path}/{name}")

    schema = fairness_schema()
    found = list(undescribed(schema, ""))
    for name, inner in schema["$defs"].items():
        found += undescribed(inner, name)
    assert found == []

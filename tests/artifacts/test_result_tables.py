"""Tables of a result are read as the rows that were written, and a wrong column is named."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audio_ssl.artifacts.result_tables import (
    COMPARISONS_FILE,
    TRIALS_FILE,
    AbxRow,
    QueryRow,
    TrialRow,
    WordRow,
    read_comparisons,
    read_trials,
    write_rows,
)
from audio_ssl.base.errors import UserError


@pytest.mark.parametrize(
    "rows",
    [
        [AbxRow("within", "a", "b", "s", 12.5, 2, 30), AbxRow("across", "b", "a", "t", 50.0, 1, 4)],
        [QueryRow("c", "water", "s", 2, 20, 75.0, "d"), QueryRow("e", "fire", None, 1, 20, 10.0, "c")],
        [WordRow("c", "water", 0.5, 0.75, "s", 0.5, 0.25), WordRow("d", "water", 0.0, 1.0, "t", 0.5, None)],
    ],
)
def test_comparisons_are_read_as_they_were_written(rows, tmp_path):
    write_rows(tmp_path / COMPARISONS_FILE, rows)
    assert list(read_comparisons(tmp_path)) == rows


def test_comparisons_of_an_earlier_release_have_no_speakers(tmp_path):
    table = [{"mode": "within", "a": "x", "b": "y", "error": 3, "speakers": 9, "cells": 1, "triples": 2}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / COMPARISONS_FILE)
    assert read_comparisons(tmp_path) == (AbxRow("within", "x", "y", None, 3.0, 1, 2),)


def test_what_was_not_written_or_is_of_another_task_has_no_rows(tmp_path):
    assert (read_trials(tmp_path), read_comparisons(tmp_path)) == ((), ())
    pq.write_table(pa.table({"pitch": [1.0]}), tmp_path / COMPARISONS_FILE)
    assert read_comparisons(tmp_path) == ()
    write_rows(tmp_path / COMPARISONS_FILE, [])
    assert read_comparisons(tmp_path) == ()


def test_trials_are_read_as_they_were_written(tmp_path):
    rows = [TrialRow("a", "b", 0.5, True), TrialRow("a", "c", -1.0, False)]
    write_rows(tmp_path / TRIALS_FILE, rows)
    assert list(read_trials(tmp_path)) == rows


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("score", ["high"], "`score` has the wrong type"),
        ("clip_a", [None], "`clip_a` lacks values"),
        ("same", None, "the columns same are missing"),
    ],
)
def test_a_wrong_column_is_named(column, values, message, tmp_path):
    whole = {"clip_a": ["a"], "clip_b": ["b"], "score": [0.5], "same": [True], column: values}
    pq.write_table(pa.table({k: v for k, v in whole.items() if v is not None}), tmp_path / TRIALS_FILE)
    with pytest.raises(UserError, match=message):
        read_trials(tmp_path)


def test_a_score_that_is_not_there_is_not_a_number(tmp_path):
    table = pa.table({"clip_a": ["a"], "clip_b": ["b"], "score": pa.array([None], pa.float64()), "same": [True]})
    pq.write_table(table, tmp_path / TRIALS_FILE)
    assert math.isnan(read_trials(tmp_path)[0].score)

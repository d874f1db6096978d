"""Tables as auditors have them: exported by a spreadsheet, with columns of their own, and without ids."""

import csv
import io
import json

import numpy as np
import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.commands.evaluate import fairness
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.fairness.tables.scalars import Numbers

WORDS = ["le", "la", "mer", "poisson", "déjà", "été", "naïve", "où", "œuvre", "garçon;", "vieux,", '"oui"']


def rows(speakers=14, clips=3):
    rng = np.random.default_rng(0)
    found = []
    for speaker in range(speakers):
        for clip in range(clips):
            said = list(rng.choice(WORDS, 9))
            heard = [word if rng.random() > 0.15 + 0.1 * (speaker % 2) else "x" for word in said]
            found.append(
                {
                    "id": f"{speaker}-{clip}",
                    "reference": " ".join(said),
                    "hypothesis": " ".join(heard) if (speaker, clip) != (3, 1) else "",
                    "speaker": f"s{speaker}",
                    "gender": ["weiblich", "männlich"][speaker % 2],
                    "seconds": round(2 + 4 * rng.random(), 2 + clip % 2),
                }
            )
    return found


def as_csv(table, delimiter=",", decimal=".", names=None, **how):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n", **how)
    names = names or {}
    writer.writerow([f" {names.get(name, name)} " if names else name for name in table[0]])
    for row in table:
        writer.writerow([str(v).replace(".", decimal) if isinstance(v, float) else v for v in row.values()])
    return file.getvalue()


def audit(folder, name, content, **options):
    folder.mkdir()
    (folder / name).write_bytes(content)
    fairness(folder / name, out=folder / "page.html", replicates=200, normaliser="basic", **options)
    report = json.loads((folder / "page.json").read_text())
    parts = ("groups", "totals", "comparisons", "spread", "models")
    numbers = {part: [{k: v for k, v in row.items() if k != "result"} for row in report[part]] for part in parts}
    return numbers, report["results"][0]["signature"]


THEIRS = {"id": "Nr.", "reference": "Référence", "hypothesis": "Hypothèse", "speaker": "Sprecher", "gender": "Genre"}
NAMED = tuple(f"{ours}={theirs}" for ours, theirs in THEIRS.items())


@pytest.mark.parametrize(
    ("name", "encode", "options", "said"),
    [
        (
            "p.csv",
            lambda t: as_csv(t, ";", ",", THEIRS).encode("cp1252"),
            {"column": NAMED},
            [
                "read as Windows-1252",
                "semicolons between cells",
                "reference = Référence",
                "`seconds` has decimal commas",
            ],
        ),
        (
            "p.csv",
            lambda t: ("sep=;\r\n" + as_csv(t, ";", ",")).encode("utf-8-sig"),
            {},
            ["semicolons between cells", "`seconds` has decimal commas"],
        ),
        (
            "p.txt",
            lambda t: as_csv(t, "\t", ",").encode("utf-16"),
            {},
            ["read as UTF-16", "tabs between cells", "`seconds` has decimal commas"],
        ),
        ("p.csv", lambda t: as_csv(t, "\t").encode(), {}, ["tabs between cells"]),
        ("p.csv", lambda t: as_csv(t, ",", ",", quoting=csv.QUOTE_ALL).encode(), {}, ["`seconds` has decimal commas"]),
    ],
)
def test_an_export_gives_the_numbers_of_its_clean_twin(tmp_path, name, encode, options, said):
    clean, plainly = audit(tmp_path / "clean", "p.csv", as_csv(rows()).encode())
    found, signature = audit(tmp_path / "export", name, encode(rows()), **options)
    assert found == clean
    assert len(clean["models"]) == 1
    assert not [words for words in said if words in plainly]
    assert not [words for words in said if words not in signature]


def test_rows_without_ids_have_numbers(tmp_path):
    table = [{k: v for k, v in row.items() if k != "id"} for row in rows()]
    numbered = [{"id": f"row {place}", **row} for place, row in enumerate(table, 1)]
    without, signature = audit(tmp_path / "a", "p.csv", as_csv(table).encode())
    with_ids, _ = audit(tmp_path / "b", "p.csv", as_csv(numbered).encode())
    assert without == with_ids
    assert "ids: row numbers, as there is no column `id`" in signature
    path = tmp_path / "c.csv"
    path.write_text(as_csv([*table[:2], {**table[2], "reference": None, "hypothesis": 'a"\n'}, *table[3:]]))
    path.write_text(path.read_text().replace(table[1]["speaker"], f"{table[1]['speaker']},more", 1))
    found = read_predictions(path)
    assert found.exclusions[0].names[0] == "line 2"
    # A row that is refused has its number all the same.
    assert found.examples
    for example in found.examples:
        row = int(example.texts.id.removeprefix("row "))
        assert row == 3 or example.texts.hypothesis == table[row - 1]["hypothesis"]


def test_a_join_needs_ids(tmp_path):
    (tmp_path / "p.csv").write_text("hypothesis\nyes\n")
    (tmp_path / "m.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(
        UserError, match=r"rows of m\.jsonl cannot be found without a column `id` \(name it: --column id=NAME"
    ):
        read_predictions(tmp_path / "p.csv", manifest=tmp_path / "m.jsonl")


def test_named_columns(tmp_path):
    path = tmp_path / "p.jsonl"
    row = {"id": "a", "reference": "raw", "clean": "yes", "hypothesis": "yes", "who": "s", "gender": "F"}
    path.write_text(json.dumps(row))
    found = read_predictions(path, columns={"reference": "clean", "speaker": "who"}, by=["gender", "table_reference"])
    assert found.statistics["wer"].tolist() == [[0, 0, 0, 1]]
    assert found.attributes["table_reference"].names == ["raw"]
    assert "reference = clean, speaker = who" in found.signature
    twice = read_predictions(path, columns={"speaker": "who", "gender": "who"})
    assert (twice.speakers.names, twice.attributes["gender"].names) == (["s"], ["s"])
    with pytest.raises(UserError, match=r"unknown column `claen`; known: clean, gender.*did you mean `clean`"):
        read_predictions(path, columns={"reference": "claen"})
    with pytest.raises(UserError, match="`--column` must be NAME=VALUE"):
        fairness(path, out=tmp_path / "x.html", column=("reference",))


@pytest.mark.parametrize(
    ("values", "commas_between", "found", "note"),
    [
        (["3,25", "4", "", None], False, [3.25, 4, np.nan, np.nan], "`seconds` has decimal commas"),
        (["3,25", "1.234,5", "1,234"], True, [3.25, 1234.5, 1.234], "`seconds` has decimal commas"),
        (["1,234", "2,500"], False, [1.234, 2.5], "`seconds` has decimal commas"),
        (["1,234", "2,500"], True, [1234, 2500], "`seconds` has commas before thousands"),
        (["1,234", "2.5"], False, [1234, 2.5], "`seconds` has commas before thousands"),
        (["1,234,567.5", "1,234"], False, [1234567.5, 1234], "`seconds` has commas before thousands"),
        ([" 2.5 ", 3, "-1", "inf", True], False, [2.5, 3, np.nan, np.nan, np.nan], None),
        (["0:03", "4 s"], False, [np.nan, np.nan], "2 values of `seconds` are not numbers, the first: 0:03"),
        (["1" * 400, "1" * 400 + ",5"], False, [np.nan, np.nan], "`seconds` has decimal commas"),
    ],
)
def test_numbers_as_they_are_written(values, commas_between, found, note):
    column = Numbers("seconds", positive=True)
    for value in values:
        column.add(value)
    np.testing.assert_array_equal(column.values(commas_between), found)
    assert column.notes(commas_between) == ([note] if note else [])


def test_levels_below_zero(tmp_path):
    column = Numbers("level_dbfs")
    for value in ("-20,5", "\u221231,25"):
        column.add(value)
    assert column.values(False).tolist() == [-20.5, -31.25]


def test_a_stray_quote_stops_and_names_its_line(tmp_path):
    lines = as_csv([{k: v for k, v in row.items() if k != "gender"} | {"gender": "F"} for row in rows()]).splitlines()
    for later in ("", '"quoted, here",x,s,F,1'):
        broken = [*lines[:9], '9-9,ja,"ja und nein,s1,2.5,F', *lines[9:], later]
        (tmp_path / "p.csv").write_text("\n".join(broken))
        with pytest.raises(
            UserError, match=r"p\.csv:10: a quote is opened here and (never closed|not closed in its row)"
        ):
            read_predictions(tmp_path / "p.csv")


def test_cells_with_line_ends_are_counted(tmp_path):
    (tmp_path / "p.csv").write_text('id,reference,hypothesis,speaker,gender\na,"one\ntwo","one\ntwo",s,F\n')
    found = read_predictions(tmp_path / "p.csv")
    assert found.statistics["wer"].tolist() == [[0, 0, 0, 2]]
    assert "1 row has cells with line ends" in found.signature

from audio_ssl.report.html import TableColumn, tabulate, turned
from audio_ssl.report.numbers import MISSING

NAME = TableColumn[str]("Name", str)
LENGTH = TableColumn[str]("Length", lambda name: str(len(name)))
WORDS = TableColumn[str]("Shouted", str.upper, words=True)


def test_a_row_is_written_by_the_columns_in_their_order():
    table = tabulate("Groups", ["women", "men"], [NAME, WORDS, LENGTH], notes=["Made up."])
    assert table.head == ("Name", "Shouted", "Length")
    assert table.rows == (("women", "WOMEN", "5"), ("men", "MEN", "3"))
    assert table.text_columns == {1}
    assert (table.notes, table.folded) == (("Made up.",), False)


def test_a_column_without_a_value_is_left_out_and_the_others_keep_their_kind():
    nothing, once = (TableColumn[str](head, lambda name: MISSING) for head in ("Nothing", "First"))
    table = tabulate("Groups", ["women"], [once, nothing, LENGTH, nothing, WORDS])
    # The first column names the row, so it stays.
    assert table.head == ("First", "Length", "Shouted")
    assert table.text_columns == {2}
    some = TableColumn[str]("Some", lambda name: MISSING if name == "men" else "1")
    assert tabulate("Groups", ["women", "men"], [NAME, some]).rows[1] == ("men", MISSING)


def test_rows_that_are_not_written_are_counted():
    names = [f"g{place}" for place in range(1205)]
    table = tabulate("Groups", names, [NAME], most=5, notes=["Made up."], open_up_to=5)
    assert len(table.rows) == 5
    assert "1,200 more rows" in table.notes[0]
    assert table.notes[1] == "Made up."
    assert not table.folded
    assert tabulate("Groups", names, [NAME], most=6, open_up_to=5).folded
    assert tabulate("Groups", names[:5], [NAME], most=5).notes == ()


def test_few_rows_can_become_columns():
    table = turned(tabulate("Groups", ["women", "men"], [NAME, LENGTH, WORDS], sticky=True), "What")
    assert table.head == ("What", "women", "men")
    assert table.rows == (("Length", "5", "3"), ("Shouted", "WOMEN", "MEN"))
    assert table.text_columns == {1, 2}
    assert not table.sticky

"""The sentences that pages print lie in `audio_ssl/report/language`, where they can be read one after the other.

A sentence is a string of six words or more that has a full stop, or of ten words or more without one. Docstrings and
what errors say are none; headings, captions of tables and names of axes may stand where they are used.
"""

import ast
from pathlib import Path

import audio_ssl.report

ROOT = Path(audio_ssl.report.__file__).parent
PRINT_NO_PAGE = {"inputs.py"}
"""Files whose long strings are parts of errors alone."""


def written(node):
    """Return the text of a string, with X for what is put into it; None where a node is no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    return None


def is_sentence(text):
    words = len(text.split())
    return words >= 10 or (words >= 6 and (text.rstrip().endswith((".", ":")) or ". " in text))


def is_error(node):
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "UserError"
    return isinstance(node, ast.Raise | ast.Assert)


def sentences_of(source):
    """Return line and text of every sentence that a module prints."""
    tree = ast.parse(source)
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(node.value)
        elif is_error(node):
            left_out |= set(ast.walk(node))
        elif isinstance(node, ast.JoinedStr):
            left_out |= {inner for part in node.values for inner in ast.walk(part)}
        elif isinstance(node, ast.keyword) and node.arg == "remedy":
            left_out |= set(ast.walk(node))
    found = [(node, written(node)) for node in ast.walk(tree) if node not in left_out]
    return [(node.lineno, text) for node, text in found if text is not None and is_sentence(text)]


def test_sentences_lie_in_the_language():
    places = {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("*.py")}
    printing = [name for name in places if "language/" not in name and name not in PRINT_NO_PAGE]
    found = {name: sentences_of(places[name].read_text("utf-8")) for name in printing}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_sentence_is_found_where_it_is_written():
    source = '''
"""A docstring of many words that says what the module is there for and what it is not."""
HEADING = "Score of each layer"
NOTE = "Memory is that of the " "whole process, and not more."
def lead(name):
    if not name:
        raise UserError("`name` must not be empty, but it is empty here and there")
    return f"All {len(name)} systems get the same head, trained on the clips of {name}."
'''
    assert [line for line, _ in sentences_of(source)] == [4, 8]

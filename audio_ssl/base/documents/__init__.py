"""The only reader of JSON, JSON Lines and YAML: it returns plain values, or an error that locates the damage.

A document is checked first: size, encoding (UTF-8, with or without a byte order mark), depth, keys (none twice),
numbers (finite, below 1e300) and texts (no NUL, and no lone surrogates except those of file names). The result consists
of None, bool, int, float, str, list and dict with text keys. Errors are `UserError` with the file, and the line and
column or the path of the key.

`find` and `as_object` check the types of values.
"""

from __future__ import annotations

from audio_ssl.base.documents.json_documents import (
    advised,
    as_written,
    iterate_json_lines,
    parse_json,
    parse_line,
    parse_object,
    read_json,
    read_object,
    readable_rows,
)
from audio_ssl.base.documents.limits import Json, JsonObject, as_object, find
from audio_ssl.base.documents.text import decode_text, read_text, wide_mark
from audio_ssl.base.documents.yaml_documents import dump_line, dump_yaml, parse_yaml, read_yaml

__all__ = [
    "Json",
    "JsonObject",
    "advised",
    "as_object",
    "as_written",
    "decode_text",
    "dump_line",
    "dump_yaml",
    "find",
    "iterate_json_lines",
    "parse_json",
    "parse_line",
    "parse_object",
    "parse_yaml",
    "read_json",
    "read_object",
    "read_text",
    "read_yaml",
    "readable_rows",
    "wide_mark",
]

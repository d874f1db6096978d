"""The one reader of all our JSON, JSON Lines and YAML: plain values, or one line that says where the damage is.

A document is checked before anything else sees it: its size, its encoding (UTF-8, a byte order mark is taken), its
depth, its keys (no key twice), its numbers (finite, below 1e300) and its texts (no NUL, no half of a surrogate pair
except those that stand for the bytes of a file name). What comes out is None, bool, int, float, str, list and dict with
text as keys, and nothing else. Every complaint is a `UserError` with the file, the line and column or the key's path.

`find` and `as_object` check the types of what an artifact of ours must hold.
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

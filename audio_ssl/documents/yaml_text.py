"""One YAML document as plain data: no objects, no references, no dates.

libyaml says what stands in the text, and the values are built here, so that nothing is built which has not been
checked: an alias or a merge key is refused (a few hundred bytes of them can mean gigabytes), a tag other than those
of plain values too, and keys are text as it is written (``no: bokmaal`` has the key "no"). Numbers, true and false are
those of YAML 1.1, as PyYAML has them; a date stays text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from audio_ssl.documents.limits import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_YAML_BYTES,
    Json,
    JsonObject,
    Refused,
    check_number,
    check_text,
    key_path,
)
from audio_ssl.documents.text import decode_text, read_text
from audio_ssl.errors import UserError, shown

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_SCALARS = {f"{_CORE}{name}": name for name in ("null", "bool", "int", "float", "str")}
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR: Any = yaml.constructor.SafeConstructor()


def read_yaml(path: Path, most_bytes: int = MAX_YAML_BYTES, typed: bool = True) -> Json:
    """Return the value of a YAML file, None where it is empty.

    Parameters
    ----------
    path
        UTF-8, one document.
    most_bytes
        A larger file is refused.
    typed
        Take numbers, true, false and null for what they are; otherwise all values stay text.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8 or not YAML, or holds what no document may hold; with line and column.
    """
    return parse_yaml(read_text(path, most_bytes), str(path), typed)


def parse_yaml(text: str | bytes, where: str, typed: bool = True) -> Json:
    r"""Return the value of a YAML text; `where` is the file, for errors; the rest is that of `read_yaml`.

    Examples
    --------
    >>> parse_yaml("{steps: 1, made: 2024-01-01}", "a.yaml")
    {'steps': 1, 'made': '2024-01-01'}
    >>> parse_yaml("a: &x [1]\nb: *x", "a.yaml")
    Traceback (most recent call last):
        ...
    audio_ssl.errors.UserError: a.yaml:2:4: `$.b`: is a reference (*x); write the value itself
    """
    if isinstance(text, bytes):
        text = decode_text(text, where)
    try:
        return _build(yaml.parse(text, Loader=_LOADER), where, typed)
    except yaml.YAMLError as error:
        raise _not_yaml(error, where) from None
    except UnicodeEncodeError:
        raise UserError("not YAML: the text is not UTF-8", where=where) from None


def dump_yaml(value: Any) -> str:
    """Return plain data as YAML text in the order of its keys, without references."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write out what is there twice."""
        return True


@dataclass
class _Open:
    """A list or a mapping whose end has not come yet."""

    value: list[Json] | dict[str, Json]
    key: str | None = None
    """Of the value that comes next, in a mapping."""

    @property
    def waits_for_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    def add(self, value: Json) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        else:
            self.value[cast(str, self.key)] = value
            self.key = None


def _build(events: Iterator[Any], where: str, typed: bool) -> Json:
    # A list of one value, which is the document.
    document = _Open([])
    stack = [document]
    for event in events:
        try:
            _take(event, stack, typed)
        except Refused as error:
            raise _placed(error, event, stack, where) from None
    values = cast(list[Json], document.value)
    return values[0] if values else None


def _take(event: Any, stack: list[_Open], typed: bool) -> None:
    last = stack[-1]
    if isinstance(event, yaml.ScalarEvent):
        if last.waits_for_key:
            last.key = _key(event, cast(JsonObject, last.value))
        else:
            last.add(_scalar(event, typed))
    elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
        mapping = isinstance(event, yaml.MappingStartEvent)
        if last.waits_for_key:
            raise Refused("a key must be text, but is a list or a mapping")
        if event.tag not in (None, "!", f"{_CORE}{'map' if mapping else 'seq'}"):
            raise Refused(f"has the tag {shown(event.tag, 60)}; only plain values are read")
        if len(stack) > MAX_DEPTH:
            raise Refused(f"lies more than {MAX_DEPTH} deep in lists and mappings")
        stack.append(_Open({} if mapping else []))
    elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
        stack.pop()
        stack[-1].add(last.value)
    elif isinstance(event, yaml.AliasEvent):
        raise Refused(f"is a reference (*{event.anchor}); write the value itself")
    elif isinstance(event, yaml.DocumentStartEvent) and last.value:
        raise Refused("a second document begins; a file holds one")


def _key(event: Any, there: JsonObject) -> str:
    name: str = event.value
    check_text(name)
    if event.tag not in (None, "!", f"{_CORE}str"):
        raise Refused(f"the key {shown(name, 40)} has the tag {shown(event.tag, 60)}; a key is plain text")
    if name == "<<" and event.implicit[0]:
        raise Refused("has a merge key (<<); write the keys themselves")
    if name in there:
        raise Refused(f"the key {shown(name, 40)} is there twice")
    return name


def _scalar(event: Any, typed: bool) -> Json:
    text: str = event.value
    check_text(text)
    if not typed:
        return text
    tag = event.tag
    if tag is None or tag == "!":
        tag = _RESOLVER.resolve(yaml.ScalarNode, text, event.implicit)
        if tag not in _SCALARS:
            # A date, or one of YAML 1.1's marks: what it looks like, which is text.
            return text
    elif tag not in _SCALARS:
        raise Refused(f"has the tag {shown(tag, 60)}; only plain values are read")
    return _value(_SCALARS[tag], text)


def _value(kind: str, text: str) -> Json:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if len(text) > MAX_DIGITS:
        raise Refused(f"a number of some {len(text)} digits is too large; it has at most {MAX_DIGITS}")
    try:
        node = yaml.ScalarNode(f"{_CORE}{kind}", text)
        value: Json = getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")(node)
    except (ValueError, KeyError, IndexError, OverflowError):
        raise Refused(f"{shown(text)} is no {kind}") from None
    if isinstance(value, int | float):
        check_number(value)
    return value


def _placed(error: Refused, event: Any, stack: list[_Open], where: str) -> UserError:
    keys = [len(one.value) if isinstance(one.value, list) else one.key for one in stack[1:]]
    path = key_path(tuple(key for key in keys if key is not None))
    return UserError(f"`{path}`: {error}", where=f"{where}{_mark(event.start_mark)}")


def _not_yaml(error: yaml.YAMLError, where: str) -> UserError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    told = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return UserError(f"not YAML: {told}", where=f"{where}{_mark(mark)}")


def _mark(mark: Any) -> str:
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"

"""One YAML document as plain data: no objects, no references, no dates.

libyaml parses the text, and the values are built here after they have been checked. References (``*name``) and merge
keys (``<<``) are copied, up to a limit, as a few hundred bytes of nested references can stand for gigabytes. Only tags
of plain values are accepted. Keys are texts as written (``no: 1`` has the key "no"). Numbers, true and false are those
of YAML 1.1, as in PyYAML. Dates stay texts.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from audio_ssl.base.documents.limits import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_REPEATED,
    MAX_YAML_BYTES,
    Json,
    JsonObject,
    Refused,
    check_depth,
    check_number,
    check_text,
    key_path,
)
from audio_ssl.base.documents.text import decode_text, read_text
from audio_ssl.base.errors import UserError, shown

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_SCALARS = {f"{_CORE}{name}": name for name in ("null", "bool", "int", "float", "str")}
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR: Any = yaml.constructor.SafeConstructor()


def read_yaml(path: Path, most_bytes: int = MAX_YAML_BYTES, typed: bool = True) -> Json:
    """Return the value of a YAML file; None if it is empty.

    Parameters
    ----------
    path
        File in UTF-8 with one document.
    most_bytes
        Maximum size.
    typed
        Convert numbers, true, false and null; otherwise all values stay text.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8 or not YAML, or has a value that documents must not have. The message
        has the line and column.
    """
    return parse_yaml(read_text(path, most_bytes), str(path), typed)


def parse_yaml(text: str | bytes, where: str, typed: bool = True) -> Json:
    r"""Return the value of a YAML text; `where` is the name of the file in errors. Otherwise as `read_yaml`.

    Examples
    --------
    >>> parse_yaml("{steps: 1, made: 2024-01-01}", "a.yaml")
    {'steps': 1, 'made': '2024-01-01'}
    >>> parse_yaml("a: 1\nb: .inf", "a.yaml")
    Traceback (most recent call last):
        ...
    audio_ssl.base.errors.UserError: a.yaml:2:4: `$.b`: the number is not finite; leave it out or write null
    """
    if isinstance(text, bytes):
        text = decode_text(text, where)
    builder = _Builder(typed)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            try:
                builder.take(event)
            except Refused as error:
                raise _placed(error, event, builder.stack, where) from None
        return builder.value()
    except Refused as error:
        raise UserError(str(error), where=where) from None
    except yaml.YAMLError as error:
        raise _not_yaml(error, where) from None
    except UnicodeEncodeError:
        raise UserError("not YAML: the text is not UTF-8", where=where) from None


def dump_yaml(value: Any) -> str:
    """Return plain data as YAML text in the order of its keys, without references."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def dump_line(value: Any) -> str:
    """Return plain data as one line of YAML."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return text.removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write repeated values in full, without references."""
        return True


@dataclass
class _Open:
    """A list or mapping that is not complete yet."""

    value: list[Json] | dict[str, Json]
    anchor: str | None = None
    key: str | None = None
    """Key of the next value of a mapping."""
    merges: bool = False
    """Whether the next value is a mapping whose keys are merged into this one."""
    merged: dict[str, Json] = field(default_factory=dict)

    @property
    def waits_for_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    def add(self, value: Json) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
            return
        if self.merges:
            self._merge(value)
        else:
            self.value[cast(str, self.key)] = value
        self.key, self.merges = None, False

    def whole(self) -> Json:
        return {**self.merged, **self.value} if isinstance(self.value, dict) else self.value

    def _merge(self, value: Json) -> None:
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise Refused(f"a merge key takes a mapping or a list of them, but not {shown(one, 40)}")
            self.merged = {**one, **self.merged}


class _Builder:
    """Builds the value of a document from the events of libyaml."""

    def __init__(self, typed: bool) -> None:
        self._typed = typed
        # The first is a list whose only value is the document.
        self.stack = [_Open([])]
        self._anchors: dict[str, Json] = {}
        self._repeated = 0

    def value(self) -> Json:
        """Return the value of the document; None if it is empty."""
        document = cast(list[Json], self.stack[0].value)
        if not document:
            return None
        if self._repeated:
            check_depth(document[0])
        return document[0]

    def take(self, event: Any) -> None:
        """Process the next event."""
        last = self.stack[-1]
        if isinstance(event, yaml.ScalarEvent):
            if last.waits_for_key:
                last.key = _key(event, cast(JsonObject, last.value))
                last.merges = last.key == "<<" and event.implicit[0]
            else:
                self._add(_scalar(event, self._typed), event.anchor)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.stack.pop()
            self._add(last.whole(), last.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._again(str(event.anchor)), None)
        elif isinstance(event, yaml.DocumentStartEvent) and last.value:
            raise Refused("a second document begins; a file holds one")

    def _open(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if self.stack[-1].waits_for_key:
            raise Refused("a key must be text, but is a list or a mapping")
        if event.tag not in (None, "!", f"{_CORE}{'map' if mapping else 'seq'}"):
            raise Refused(f"has the tag {shown(event.tag, 60)}; only plain values are read")
        if len(self.stack) > MAX_DEPTH:
            raise Refused(f"is nested more than {MAX_DEPTH} deep")
        self.stack.append(_Open({} if mapping else [], event.anchor))

    def _add(self, value: Json, anchor: str | None) -> None:
        self.stack[-1].add(value)
        if anchor is not None:
            self._anchors[anchor] = value

    def _again(self, anchor: str) -> Json:
        if self.stack[-1].waits_for_key:
            raise Refused("a key must be text, but is a reference")
        if anchor not in self._anchors:
            raise Refused(f"refers to {shown(anchor, 40)}, which is not defined before it")
        value = self._anchors[anchor]
        self._repeated += _amount(value)
        if self._repeated > MAX_REPEATED:
            raise Refused(f"the references (*{anchor}) expand to too many values; write the values themselves")
        return copy.deepcopy(value)


def _amount(value: Json) -> int:
    """Return the number of values within a value; long texts count as several."""
    if isinstance(value, str):
        return 1 + len(value) // 64
    if isinstance(value, dict):
        return 1 + sum(1 + len(name) // 64 + _amount(item) for name, item in value.items())
    return 1 + sum(map(_amount, value)) if isinstance(value, list) else 1


def _key(event: Any, there: JsonObject) -> str:
    name: str = event.value
    check_text(name)
    if event.tag not in (None, "!", f"{_CORE}str"):
        raise Refused(f"the key {shown(name, 40)} has the tag {shown(event.tag, 60)}; a key is plain text")
    if name in there:
        raise Refused(f"the key {shown(name, 40)} appears twice")
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
            # Dates and other special forms of YAML 1.1 stay texts.
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
        raise Refused(f"{shown(text)} is not of type {kind}") from None
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

"""YAML files read strictly, with the place of every value.

PyYAML parses; what it would accept in silence is refused here: duplicate keys, the YAML 1.1 words that turn
into booleans (`no`, `on`), base-60 and octal numbers, aliases (and so alias bombs), tags, impossible dates
and files too large or too deep to be a rule file.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from byreport.findings import Finding

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it: ten times faster
MAX_BYTES = 2_000_000
MAX_DEPTH = 24
_UNREAD = ("yaml-1.1", "date", "tag", "too-deep")

_QUOTED = ("'", '"', "|", ">")
_BOOLEANS = {"true": True, "false": False}
_YAML11 = re.compile(r"(?:yes|no|on|off|y|n)", re.IGNORECASE)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?[0-9]+\.[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SURPRISES = (
    (re.compile(r"[-+]?0[0-9]+"), "a number with a leading zero"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a base-60 number in YAML 1.1"),
    (re.compile(r"[-+]?0[xob][0-9a-fA-F_]+"), "a hexadecimal, octal or binary number"),
    (re.compile(r"[-+]?(?:\.inf|\.nan)", re.IGNORECASE), "an infinite or undefined number"),
    (re.compile(r"[-+]?[0-9][0-9_.]*[eE][-+]?[0-9]+"), "a number with an exponent"),
)

ValuePath = tuple[Hashable, ...]


@dataclass
class Document:
    """One YAML file: its plain data, the place of each value by path, and what is wrong with it."""

    file: str
    data: Any = None
    marks: dict[ValuePath, tuple[int, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unread: set[tuple[int, int]] = field(default_factory=set)

    def place(self, path: ValuePath) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest value around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return (0, 0)

    def add(self, path: ValuePath, kind: str, message: str, **details: Any) -> None:
        """Record a finding at the value that `path` leads to."""
        line, column = self.place(path)
        if (line, column) not in self.unread:
            self.findings.append(Finding(self.file, line, column, kind, message, **details))
        if kind in _UNREAD:
            # What could not be read has no value: a second finding on it would only confuse.
            self.unread.add((line, column))


def read(path: Path, name: str | None = None) -> Document:
    """Read one YAML file; faults are in the document's findings, never raised."""
    document = Document(name or str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        document.add((), "unreadable", f"can't be read: {error.strerror or error}")
        return document
    return parse(data, document.file)


def parse(data: bytes | str, name: str) -> Document:
    """Parse YAML text into a Document."""
    document = Document(name)
    raw = data.encode() if isinstance(data, str) else data
    if len(raw) > MAX_BYTES:
        document.add(
            (),
            "too-large",
            "the file is too large",
            found=f"{len(raw):,} bytes",
            expected=f"at most {MAX_BYTES:,} bytes",
        )
        return document
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.add((), "encoding", f"not UTF-8 text: byte {error.start} can't be read", expected="UTF-8")
        return document
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        document.findings.append(
            Finding(name, line, column, "yaml", f"not valid YAML: {error.problem or error.context}")
        )
        return document
    except (yaml.YAMLError, RecursionError) as error:
        document.add((), "yaml", f"not valid YAML: {error}")
        return document
    if node is None:
        document.add((), "empty", "the file is empty")
        return document
    document.data = _Builder(document, text).build(node, ())
    return document


class _Builder:
    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.seen: set[int] = set()
        if "*" in text:
            self.refuse_aliases(text)

    def refuse_aliases(self, text: str) -> None:
        for event in yaml.parse(text, Loader=_LOADER):
            mark = event.start_mark
            if isinstance(event, yaml.AliasEvent) and mark is not None:
                self.finding(
                    (mark.line + 1, mark.column + 1),
                    "alias",
                    "aliases are not allowed in rule files",
                    found=f"*{event.anchor}",
                    expected="the value written out, or a table",
                )
                return

    def build(self, node: yaml.Node, path: ValuePath) -> Any:
        if len(path) > MAX_DEPTH:
            self.document.add(path, "too-deep", f"nested deeper than {MAX_DEPTH} levels")
            return None
        self.document.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if node.tag not in _PLAIN_TAGS:
            self.document.add(path, "tag", f"the tag {node.tag!r} is not allowed", found=node.tag)
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            if id(node) in self.seen:
                return None
            self.seen.add(id(node))
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: ValuePath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if id(node) in self.seen:
            return result
        self.seen.add(id(node))
        for key_node, value_node in node.value:
            mark = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or not isinstance(key, str) or key == "<<":
                self.finding(mark, "key", "a key has to be a plain word", found=str(key)[:40])
                continue
            if key in result:
                self.finding(mark, "duplicate-key", f"the key {key!r} stands twice; only one can count", found=key)
                continue
            if key_node.style not in _QUOTED and _YAML11.fullmatch(key):
                self.finding(
                    mark,
                    "yaml-1.1",
                    f"the key {key!r} is a boolean in YAML 1.1",
                    expected=f"'{key}' in quotes",
                )
            result[key] = self.build(value_node, (*path, key))
            # Point at the key: that is where an analyst looks for a wrong name.
            self.document.marks[(*path, key, "")] = mark
        return result

    def finding(self, mark: tuple[int, int], kind: str, message: str, **details: Any) -> None:
        self.document.findings.append(Finding(self.document.file, *mark, kind, message, **details))

    def scalar(self, node: yaml.Node, path: ValuePath) -> Any:
        value: str = node.value
        if getattr(node, "style", None) in _QUOTED:
            return value
        if value in ("", "~", "null", "Null", "NULL"):
            return None
        if value in _BOOLEANS:
            return _BOOLEANS[value]
        if _YAML11.fullmatch(value) or value.lower() in _BOOLEANS:
            self.document.add(
                path,
                "yaml-1.1",
                f"{value!r} is a boolean in YAML 1.1",
                found=value,
                expected=f"true, false, or '{value}' in quotes",
            )
            return None
        if _INTEGER.fullmatch(value):
            return int(value)
        if _DECIMAL.fullmatch(value):
            return DecimalText(value)
        for pattern, meaning in _SURPRISES:
            if pattern.fullmatch(value):
                self.document.add(
                    path,
                    "yaml-1.1",
                    f"{value!r} would be read as {meaning}",
                    found=value,
                    expected=f"'{value}' in quotes",
                )
                return None
        if _DATE.fullmatch(value):
            return self.date(value, path)
        return value

    def date(self, value: str, path: ValuePath) -> str | None:
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError as error:
            self.document.add(
                path,
                "date",
                f"{value} is no date of the calendar: {error}",
                found=value,
                expected="YYYY-MM-DD",
            )
            return None


class DecimalText(str):
    """A decimal number as written; kept as text so that no binary rounding creeps in."""


_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "null", "bool", "int", "float", "timestamp", "merge", "value", "map", "seq")
}

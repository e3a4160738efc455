"""Claim lines out of a file or a pipe: one JSON object, an array of them, or JSON lines, read as they come.

What is read is strict JSON in UTF-8 (`strictjson`). A fault costs the one claim line it is in, unless
brackets don't close: then nothing after it can be told apart, and reading ends there.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from byreport import strictjson

CHUNK = 1 << 16
MAX_CLAIM = 2_000_000
"""Bytes that one claim line may take; no claim is near it, and a file of one endless line must not fill memory."""

_SPACE = re.compile(r"[ \t\r\n]*")
_PLACE = re.compile(r"line (\d+), column (\d+)")
_OUTSIDE = re.compile(r'["{}\[\],\n]')
_IN_STRING = re.compile(r'["\\\n]')


class Bytes(Protocol):
    """A binary stream; `read1` gives what is there, at most `size` bytes, and waits only when nothing is."""

    def read1(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Entry:
    """A JSON value that stood where a claim line should, and the line of the file (from 1) on which it begins."""

    line: int
    data: Any


@dataclass(frozen=True)
class Fault:
    """Something that can't be read as JSON: the line of the file, and what is wrong and what would be right."""

    line: int
    text: str


@dataclass(frozen=True)
class Pause:
    """All that has come was read; the next step may wait for more."""


class _NotJson(ValueError):
    """Text that is not strict JSON; `line` counts from 1 within the text."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def _parse(text: str) -> Any:
    try:
        return strictjson.loads(text)
    except strictjson.JsonError as error:
        place = _PLACE.fullmatch(error.place)
        if place is not None:
            raise _NotJson(int(place[1]), f"column {place[2]}: {error.problem}") from None
        raise _NotJson(1, error.problem if error.place == "body" else f"{error.place}: {error.problem}") from None


def read(stream: Bytes) -> Iterator[Entry | Fault | Pause]:
    """The values of a stream in order, each with its line, with the faults between them."""
    head, ended = b"", False
    while (layout := _layout(head, ended)) is None:
        yield Pause()
        chunk = stream.read1(CHUNK)
        head, ended = head + chunk, not chunk
    chunks = _chunks(head.removeprefix(codecs.BOM_UTF8), stream)
    yield from _json_lines(chunks) if layout == "lines" else _spread(chunks, layout == "array")


def _layout(head: bytes, ended: bool) -> str | None:
    """What the beginning of a stream shows it to be: "lines", "array", "objects", or None while it can't be told."""
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not head:
        return "lines" if ended else None
    if head[:1] != b"{":
        return "array" if head[:1] == b"[" else "lines"
    first, newline, rest = head.partition(b"\n")
    if not newline:
        return "lines" if ended or len(head) > MAX_CLAIM else None
    if _whole(first):
        return "lines"
    rest = rest.lstrip()
    if not rest:
        return "lines" if ended else None
    return "lines" if rest[:1] == b"{" else "objects"


def _whole(line: bytes) -> bool:
    try:
        _parse(line.decode())
    except ValueError:
        return False
    return True


def _chunks(head: bytes, stream: Bytes) -> Iterator[bytes | Pause]:
    if head:
        yield head
    while True:
        yield Pause()
        chunk = stream.read1(CHUNK)
        if not chunk:
            return
        yield chunk


# --- JSON lines ----------------------------------------------------------------------------------------------------


def _json_lines(chunks: Iterator[bytes | Pause]) -> Iterator[Entry | Fault | Pause]:
    number, rest = 1, b""
    for chunk in chunks:
        if isinstance(chunk, Pause):
            yield chunk
            continue
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield from _line(number, rest + line)
            number, rest = number + 1, b""
        # Of a line that is too long only enough is kept to see that it is.
        rest = (rest + last)[: MAX_CLAIM + 1]
    yield from _line(number, rest)


def _line(number: int, raw: bytes) -> Iterator[Entry | Fault]:
    if not raw.strip():
        return
    if len(raw) > MAX_CLAIM:
        yield Fault(number, f"is longer than {MAX_CLAIM:,} bytes; a claim line is far shorter")
        return
    try:
        yield Entry(number, _parse(raw.decode()))
    except UnicodeDecodeError as error:
        yield Fault(number, f"is not UTF-8 (byte {error.start + 1}); save the file as UTF-8")
    except _NotJson as error:
        yield Fault(number, str(error))


# --- one array, or objects that go over several lines ---------------------------------------------------------------


def _spread(chunks: Iterator[bytes | Pause], array: bool) -> Iterator[Entry | Fault | Pause]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    scanner = _Scanner(array)
    try:
        for chunk in chunks:
            if isinstance(chunk, Pause):
                yield chunk
            else:
                yield from scanner.feed(decoder.decode(chunk))
        decoder.decode(b"", final=True)
        scanner.finish()
    except UnicodeDecodeError:
        yield Fault(scanner.line, "is not UTF-8 from here on; save the file as UTF-8")
    except _Lost as lost:
        yield Fault(lost.line, str(lost))


class _Lost(Exception):
    """From here on values can't be told apart."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Scanner:
    """Cuts a text into its top-level values by counting brackets outside strings, a piece of text at a time."""

    def __init__(self, array: bool) -> None:
        self.line = 1
        self._array = array
        self._depth = 0
        self._closed = False
        self._in_string = False
        self._escaped = False
        self._parts: list[str] = []
        self._size = 0
        self._first_line = 1
        self._after_comma = False

    def feed(self, text: str) -> Iterator[Entry | Fault]:
        """The values that end in this piece. Raises _Lost."""
        begin = position = 0
        if self._escaped and text:
            self._escaped, position = False, int(text[0] != "\n")
        while (found := (_IN_STRING if self._in_string else _OUTSIDE).search(text, position)) is not None:
            mark, position = found[0], found.end()
            if mark == "\n":
                # No JSON string goes over a line end, so a string left open costs no more than its line.
                self.line, self._in_string = self.line + 1, False
            elif self._in_string:
                self._in_string = mark == "\\"
                if mark == "\\":
                    self._escaped = position == len(text)
                    position += not self._escaped and text[position] != "\n"
            elif mark == '"':
                self._in_string = True
            else:
                ended_at = self._bracket(mark, position)
                if ended_at is not None:
                    self._parts.append(text[begin:ended_at])
                    begin = position
                    yield from self._value(mark)
        self._keep(text[begin:])

    def _bracket(self, mark: str, position: int) -> int | None:
        """Counts the bracket; where a value ends (or the array begins), up to which character it goes."""
        if self._closed:
            raise _Lost(self.line, "something follows the end of the array; expected nothing more")
        floor = 1 if self._array else 0
        if mark in "{[":
            self._depth += 1
            return position if self._array and self._depth == 1 else None
        if mark == ",":
            return position - 1 if self._array and self._depth == 1 else None
        self._depth -= 1
        if self._depth < 0 or (self._depth < floor and mark == "}"):
            raise _Lost(self.line, f"a {mark} too many; nothing after it can be told apart")
        if self._depth < floor:
            return position - 1
        return position if self._depth == 0 else None

    def _value(self, mark: str) -> Iterator[Entry | Fault]:
        text, first = "".join(self._parts), self._first_line
        self._parts, self._size, self._first_line = [], 0, self.line
        if mark == "[" and self._array:
            return
        blank = not text.strip()
        if self._array:
            self._closed = mark == "]"
            if blank and self._closed and not self._after_comma:
                return
            self._after_comma = True
        if blank:
            yield Fault(self.line, "nothing stands where a claim line should; remove the comma too many")
            return
        try:
            lead = _SPACE.match(text).end()  # type: ignore[union-attr]
            yield Entry(first + text.count("\n", 0, lead), _parse(text))
        except _NotJson as error:
            yield Fault(first + error.line - 1, str(error))

    def _keep(self, text: str) -> None:
        self._parts.append(text)
        self._size += len(text)
        if self._closed and text.strip():
            raise _Lost(self.line, "something follows the end of the array; expected nothing more")
        if self._size > MAX_CLAIM:
            raise _Lost(self._first_line, f"goes on for more than {MAX_CLAIM:,} characters; is a bracket left open?")

    def finish(self) -> None:
        """Raises _Lost when the text ended within a value."""
        if self._depth or "".join(self._parts).strip():
            raise _Lost(self.line, "the file ends within a value; a bracket that was opened is not closed")

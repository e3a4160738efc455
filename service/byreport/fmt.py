"""Rule files in one style: comments stay, the meaning stays, and what is in style already stays to the byte.

The style: two spaces, lists indented; the keys of a rule in the order of `RULE_KEYS` (a comment goes with the key
below it); dates of effect, sources, rows and the facts of examples on one line each where they hold no comment; one
empty line between rules; text is never wrapped anew. A file whose values or comments would come out different in
any way is refused.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from byreport import yamlfile
from byreport.findings import Finding, RulebookError
from byreport.rulefile import RULE_KEYS

WIDTH = 1_000_000
"""No line is broken for its length: a row or an example is one line, and folded texts keep their breaks."""

_RULE = re.compile(r"  - ")
_KEY = re.compile(r"    ([a-z_]+):(?: |$)")
_TEXT_BLOCK = re.compile(r"(?:^|[:\-]\s+)[|>][-+0-9]*\s*(?:#.*)?$")
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True)
class Formatted:
    """What was done: the files that are (or with `check` would be) changed, how many were in style, and the refused."""

    changed: tuple[Path, ...]
    unchanged: int
    refused: tuple[Finding, ...]


def format_tree(directory: Path, check: bool = False) -> Formatted:
    """Bring every `*.yaml` below a rules directory (or a tree with `rules/`) into the style.

    With `check` nothing is written. Files that can't be read as rule files are refused and left alone.
    """
    root = directory / "rules" if (directory / "rules").is_dir() else directory
    changed, refused, unchanged = [], [], 0
    for path in sorted(root.rglob("*.yaml")):
        try:
            text = path.read_bytes().decode("utf-8-sig")
            result = formatted(text, str(path))
        except RulebookError as error:
            refused.extend(error.findings)
            continue
        except (OSError, UnicodeDecodeError) as error:
            refused.append(Finding(str(path), 0, 0, "unreadable", f"can't be read: {error}"))
            continue
        if result == text:
            unchanged += 1
            continue
        changed.append(path)
        if not check:
            _write(path, result)
    return Formatted(tuple(changed), unchanged, tuple(refused))


def formatted(text: str, name: str) -> str:
    """The text of a rule file in the style. Raises RulebookError when it is no YAML that rule files may hold."""
    before = yamlfile.parse(text, name)
    if before.findings:
        raise RulebookError(before.findings)
    if not isinstance(before.data, dict):
        raise RulebookError([Finding(name, 1, 1, "ruleset", "a rule file is a mapping")])
    # The second round settles what the first one's new line breaks leave to settle.
    result = _round(_round(text, name), name)
    after = yamlfile.parse(result, name)
    if after.findings or after.data != before.data or _comments(result) != _comments(text):
        raise RulebookError(
            [
                Finding(
                    name, 1, 1, "format", "the file can't be formatted without changing what it says; it was left alone"
                )
            ]
        )
    return result


def _round(text: str, name: str) -> str:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    try:
        data = yaml.load(text)
        _flow(data)
        _near(data)
        stream = io.StringIO()
        yaml.dump(data, stream)
    except (YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RulebookError([Finding(name, 1, 1, "format", f"can't be formatted: {error}")]) from None
    lines = [line.rstrip() if not line.strip() else line for line in stream.getvalue().splitlines()]
    return "\n".join(_spaced(_ordered(_aligned(lines)))) + "\n"


# --- what stands on one line ---------------------------------------------------------------------------------------


def _flow(data: Any) -> None:
    rules = data.get("rules") if isinstance(data, CommentedMap) else None
    for rule in rules if isinstance(rules, CommentedSeq) else ():
        if not isinstance(rule, CommentedMap):
            continue
        _one_line(rule.get("effective"))
        _one_line(rule.get("overrides"))
        _each_on_a_line(rule, "source")
        _each_on_a_line(rule, "rows")
        for example in _items(rule.get("examples")):
            if isinstance(example, CommentedMap):
                _one_line(example.get("given"))


def _each_on_a_line(rule: CommentedMap, key: str) -> None:
    value = rule.get(key)
    if isinstance(value, CommentedMap):
        _one_line(value)
        return
    if isinstance(value, CommentedSeq) and not _commented(value):
        value.fa.set_block_style()
    for item in _items(value):
        _one_line(item)


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, CommentedSeq) else ()


def _one_line(value: Any) -> None:
    if isinstance(value, (CommentedMap, CommentedSeq)) and not _commented(value) and _plain(value):
        value.fa.set_flow_style()


def _plain(value: Any) -> bool:
    """Whether every text in it can stand on one line as it is."""
    if isinstance(value, dict):
        return all(_plain(item) for item in value.values())
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    return type(value).__name__ not in ("FoldedScalarString", "LiteralScalarString") and "\n" not in str(value)


def _commented(value: Any) -> bool:
    if not isinstance(value, (CommentedMap, CommentedSeq)):
        return False
    # The comment after the last entry belongs to what follows, but it would not survive on one line either.
    if value.ca.comment or value.ca.items or value.ca.end:
        return True
    return any(_commented(item) for item in (value.values() if isinstance(value, CommentedMap) else value))


def _near(value: Any) -> None:
    """Put comments at the end of a line one space behind it; those with a line of their own are aligned later."""
    if not isinstance(value, (CommentedMap, CommentedSeq)):
        return
    for token in _tokens([value.ca.comment, *value.ca.items.values(), value.ca.end]):
        if token.value.startswith("#"):
            token.column = 0
    for item in value.values() if isinstance(value, CommentedMap) else value:
        _near(item)


def _tokens(held: Any) -> Iterator[Any]:
    if isinstance(held, (list, tuple)):
        for item in held:
            yield from _tokens(item)
    elif hasattr(held, "start_mark") and isinstance(getattr(held, "value", None), str):
        yield held


# --- the order of keys, and the lines between rules ------------------------------------------------------------------


def _aligned(lines: list[str]) -> list[str]:
    """Each comment that has a line of its own begins where the next line that says something does."""
    result = list(lines)
    text_from: int | None = None
    comments: list[int] = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        if text_from is not None and indent > text_from:
            continue
        text_from = None
        if line.lstrip().startswith("#"):
            comments.append(number)
            continue
        for place in comments:
            result[place] = " " * indent + lines[place].lstrip()
        comments = []
        if _TEXT_BLOCK.search(line):
            text_from = indent
    return result


def _ordered(lines: list[str]) -> list[str]:
    result: list[str] = []
    for block in _blocks(lines):
        result.extend(_in_order(block) if _RULE.match(block[0]) else block)
    return result


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """The lines of each rule, from its `- ` up to the comments and empty lines before the next one."""
    inside = False
    block: list[str] = []
    for line in lines:
        if line.startswith("rules:"):
            inside = True
        starts = inside and _RULE.match(line)
        ends = inside and block and _RULE.match(block[0]) and line and not line.startswith("   ")
        if block and (starts or ends):
            yield from _without_tail(block)
            block = []
        block.append(line)
    if block:
        yield from _without_tail(block)


def _without_tail(block: list[str]) -> Iterator[list[str]]:
    end = len(block)
    while end > 1 and (not block[end - 1].strip() or block[end - 1].startswith(("  #", "#"))):
        end -= 1
    yield block[:end]
    if end < len(block):
        yield block[end:]


def _in_order(block: list[str]) -> list[str]:
    """The lines of one rule with its keys in order."""
    parts: list[tuple[str, list[str]]] = []
    waiting: list[str] = []
    for number, line in enumerate(block):
        plain = "    " + line[4:] if number == 0 else line
        key = _KEY.match(plain)
        if key:
            parts.append((key[1], [*waiting, plain]))
            waiting = []
        elif line.startswith("    #"):
            waiting.append(line)
        elif parts:
            parts[-1][1].extend([*waiting, line])
            waiting = []
        else:
            return block
    if waiting and parts:
        parts[-1][1].extend(waiting)
    keys = [key for key, _ in parts]
    places = {key: place for place, key in enumerate(RULE_KEYS)}
    wanted = sorted(keys, key=lambda key: places.get(key, len(places)))
    if keys == wanted or len(set(keys)) != len(keys):
        return block
    by_key = dict(parts)
    if by_key[wanted[0]][0].startswith("    #"):
        return block  # a comment can't stand before the dash and inside the rule
    flat = [line for key in wanted for line in by_key[key]]
    return ["  - " + flat[0][4:], *flat[1:]]


def _spaced(lines: list[str]) -> list[str]:
    """One empty line between rules, none before the first, none at the end."""
    result: list[str] = []
    first = True
    for block in _blocks(lines):
        while block and not block[-1].strip():
            block = block[:-1]
        if not block:
            continue
        if _RULE.match(block[0]):
            if not first and result and not result[-1].startswith(("  #", "#")):
                result.append("")
            first = False
            result.extend(block)
        else:
            body = [line for line in block if line.strip()] if not first else block
            if result and not first:
                result.append("")
            result.extend(body)
    return result


def _comments(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in text.splitlines():
        hit = _COMMENT.search(line)
        if hit:
            found[" ".join(hit[0].split())] += 1
    return found


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, so that nobody ever reads half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o7777)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


__all__ = ["Formatted", "format_tree", "formatted"]

"""What an edit of the rules changes: every claim line decided under both trees, the differences grouped and counted.

Each group is one change of one part of the decision ("required → not_required"), with the lines it concerns, their
charges and one line worked out under both. Lines of payers whose rules are the same in both trees are
counted and not decided: their decisions are the same.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from byreport import claim, claimfile
from byreport import facts as facts_
from byreport.claim import ClaimError, ClaimLine
from byreport.decision import Decision
from byreport.desk import Desk
from byreport.findings import Finding, RulebookError
from byreport.log import Log
from byreport.reference import Reference
from byreport.rule import Rule
from byreport.rulebook import PayerRules, Rulebook, UnknownPayer

PARTS = (
    "outcome",
    "prior_authorization",
    "code",
    "denials",
    "documentation",
    "edits",
    "pricing",
    "deadlines",
    "exclusions",
    "questions",
)
"""The parts of a decision that are compared, in the order in which they are told."""

EXPLANATION = "explanation"
"""A decision that says the same of every part, but by other rules, sources, notes or cautions."""

GONE = "no such payer"
MAX_REFUSED = 20
_REVISION_FILES = ("rules", "policy_docs")


class ImpactError(Exception):
    """A tree, revision or file that can't be compared; the message says which and why."""


@dataclass(frozen=True)
class Subject:
    """One line to decide: where it came from, and the claim line as JSON, or the facts of a stored decision."""

    where: str
    claim: Any = None
    facts: facts_.Facts | None = None


@dataclass(frozen=True)
class Refused:
    """A line that neither tree could decide: where it stands and why."""

    where: str
    why: str


@dataclass
class Group:
    """One change of one part. `charge` is in US dollars, of the lines that have one."""

    part: str
    before: str
    after: str
    lines: int = 0
    charge: Decimal = Decimal(0)
    uncharged: int = 0
    example: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The group as JSON has it."""
        return {
            "part": self.part,
            "before": self.before,
            "after": self.after,
            "lines": self.lines,
            "charge": f"{self.charge:.2f}",
            "without_charge": self.uncharged,
            "example": self.example,
        }


@dataclass
class Impact:
    """What changes from one tree to another over some claim lines."""

    old: str
    new: str
    old_hash: str
    new_hash: str
    lines: int = 0
    changed: int = 0
    changed_charge: Decimal = Decimal(0)
    explained_otherwise: int = 0
    refused: int = 0
    refusals: list[Refused] = field(default_factory=list)
    payers: dict[str, int] = field(default_factory=dict)
    groups: dict[tuple[str, str, str], Group] = field(default_factory=dict)

    def ordered(self) -> list[Group]:
        """The groups by part, within a part the one with most lines first."""
        return sorted(
            self.groups.values(),
            key=lambda group: (_place(group.part), -group.lines, -group.charge, group.before, group.after),
        )

    def parts(self) -> dict[str, list[Group]]:
        """The groups of each part that has any, in order."""
        result: dict[str, list[Group]] = {}
        for group in self.ordered():
            result.setdefault(group.part, []).append(group)
        return result

    def as_dict(self) -> dict[str, Any]:
        """The whole result as JSON has it."""
        return {
            "old": {"tree": self.old, "rulebook": self.old_hash},
            "new": {"tree": self.new, "rulebook": self.new_hash},
            "lines": self.lines,
            "changed": self.changed,
            "changed_charge": f"{self.changed_charge:.2f}",
            "explained_otherwise": self.explained_otherwise,
            "refused": self.refused,
            "refusals": [{"where": one.where, "why": one.why} for one in self.refusals],
            "payers": dict(sorted(self.payers.items(), key=lambda item: (-item[1], item[0]))),
            "changes": [group.as_dict() for group in self.ordered()],
        }


# --- the trees ---------------------------------------------------------------------------------------------------


def open_tree(name: str, repository: Path | None = None) -> Rulebook:
    """The rulebook of a directory, or of a git revision of the repository around `repository` (here by default).

    A revision may name a directory of the repository, as in `HEAD~3:my-rules`. Raises ImpactError, and
    RulebookError where the rules have faults.
    """
    if not name.strip():
        raise ImpactError("an empty name is neither a directory nor a git revision")
    directory = Path(name)
    rulebook = Rulebook.open(directory) if directory.is_dir() else _revision(name, repository or Path.cwd())
    findings = rulebook.load()
    if findings:
        raise RulebookError(findings)
    return rulebook


def _revision(name: str, repository: Path) -> Rulebook:
    if name.startswith("-"):
        raise ImpactError(f"{name!r} is neither a directory nor a git revision")
    revision, _, inside = name.partition(":")
    try:
        top = _git(repository, "rev-parse", "--show-toplevel").decode().strip()
        commit = _git(Path(top), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
    except (OSError, subprocess.CalledProcessError):
        raise ImpactError(f"{name!r} is neither a directory nor a revision of the git repository here") from None
    tree = f"{commit}:{inside.strip('/')}" if inside.strip("/") else commit
    try:
        there = _git(Path(top), "ls-tree", "--name-only", tree).decode().split("\n")
        wanted = [part for part in _REVISION_FILES if part in there]
        data = _git(Path(top), "archive", "--format=tar", tree, *wanted) if "rules" in wanted else b""
    except subprocess.CalledProcessError as error:
        raise ImpactError(f"{name!r} can't be read: {error.stderr.decode(errors='replace').strip()}") from None
    files = dict(_yaml_files(data)) if data else {}
    if not files:
        fault = Finding(name, 0, 0, "no-rules", "the revision holds no rule file", expected="rules/**.yaml")
        raise RulebookError([fault])
    return Rulebook(files, origin=name)


def _git(directory: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True).stdout


def _yaml_files(archive: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            hidden = any(part.startswith(".") for part in Path(member.name).parts)
            opened = (
                tar.extractfile(member) if member.isreg() and member.name.endswith(".yaml") and not hidden else None
            )
            if opened is not None:
                yield member.name, opened.read()


# --- the lines -----------------------------------------------------------------------------------------------------


def from_file(
    stream: claimfile.Bytes, name: str, pause: Callable[[], None] = lambda: None
) -> Iterator[Subject | Refused]:
    """The claim lines of a file (a JSON object, an array, or JSON lines) as they are read."""
    for entry in claimfile.read(stream):
        if isinstance(entry, claimfile.Pause):
            pause()
        elif isinstance(entry, claimfile.Fault):
            yield Refused(f"{name}:{entry.line}", entry.text)
        else:
            yield Subject(f"{name}:{entry.line}", entry.data)


def from_log(log: Log) -> Iterator[Subject]:
    """The stored decisions of a log, oldest first, with the facts they were decided on."""
    for record in log.iterate():
        yield Subject(record.decision_id, json.loads(record.claim), facts_.from_text(record.facts, record.payer))


# --- comparing -----------------------------------------------------------------------------------------------------


def compare(
    old: Rulebook,
    new: Rulebook,
    reference: Reference,
    subjects: Iterable[Subject | Refused],
    progress: Callable[[int], None] | None = None,
    names: tuple[str, str] | None = None,
) -> Impact:
    """Decide every line under both rulebooks and gather what differs. `progress` is called with the lines done."""
    old_name, new_name = names or (old.origin, new.origin)
    impact = Impact(old_name, new_name, old.hash, new.hash)
    comparison = _Comparison(old, new, reference, impact)
    try:
        for done, subject in enumerate(subjects, 1):
            comparison.add(subject)
            if progress is not None:
                progress(done)
    finally:
        comparison.close()
    return impact


class _Comparison:
    def __init__(self, old: Rulebook, new: Rulebook, reference: Reference, impact: Impact) -> None:
        self.desks = (Desk(old, reference), Desk(new, reference))
        self.reference = reference
        self.impact = impact
        self.same: dict[str, bool] = {}

    def close(self) -> None:
        for desk in self.desks:
            desk.close()

    def add(self, subject: Subject | Refused) -> None:
        self.impact.lines += 1
        if isinstance(subject, Refused):
            self._refuse(subject)
            return
        try:
            line, payer = self._read(subject)
            if self._same_chain(payer):
                return
            before, after = (self._decided(desk, line, payer, subject.facts) for desk in self.desks)
        except (ClaimError, UnknownPayer) as error:
            self._refuse(Refused(subject.where, str(error)))
            return
        if before is None and after is None:
            self._refuse(Refused(subject.where, f"unknown payer {payer!r}"))
        elif before is None or after is None or before.text != after.text:
            bodies = [None if decision is None else decision.body for decision in (before, after)]
            self._compare(subject, line, payer, *bodies)

    def _refuse(self, refused: Refused) -> None:
        self.impact.refused += 1
        if len(self.impact.refusals) < MAX_REFUSED:
            self.impact.refusals.append(refused)

    def _read(self, subject: Subject) -> tuple[ClaimLine, str]:
        if subject.facts is not None:
            return ClaimLine(subject.facts.payer, subject.facts.shown), subject.facts.payer
        line = claim.read(subject.claim)
        return line, facts_.payer_path(line, self.reference)

    def _same_chain(self, payer: str) -> bool:
        """Whether the payer has the same rules in both trees."""
        if payer not in self.same:
            try:
                old, new = (desk.rulebook.payer(payer) for desk in self.desks)
                self.same[payer] = _same_rules(old, new)
            except UnknownPayer:
                self.same[payer] = False
        return self.same[payer]

    def _decided(self, desk: Desk, line: ClaimLine, payer: str, facts: facts_.Facts | None) -> Decision | None:
        try:
            rules = desk.rulebook.payer(payer)
        except UnknownPayer:
            return None
        decided = desk.decide_facts(line, rules, facts) if facts is not None else desk.decide_line(line, rules)
        return decided.decision

    def _compare(self, subject: Subject, line: ClaimLine, payer: str, before: Any, after: Any) -> None:
        charge = _dollars(line.facts.get("line.charge"))
        changes = list(_changes(before, after))
        if not changes:
            self.impact.explained_otherwise += 1
            changes = [(EXPLANATION, "the same decision", "by other rules, sources, notes or cautions")]
        else:
            self.impact.changed += 1
            self.impact.changed_charge += charge or 0
            self.impact.payers[payer] = self.impact.payers.get(payer, 0) + 1
        for part, old, new in changes:
            group = self.impact.groups.get((part, old, new))
            if group is None:
                example = _example(subject, line, payer, part, before, after)
                group = self.impact.groups[part, old, new] = Group(part, old, new, example=example)
            group.lines += 1
            group.charge += charge or 0
            group.uncharged += charge is None


def _same_rules(old: PayerRules, new: PayerRules) -> bool:
    """Whether nothing that a decision is made from differs: where a rule stands in its file is no part of it."""
    if (old.name, old.chain, len(old.rules)) != (new.name, new.chain, len(new.rules)):
        return False
    return all(_bare(one) == _bare(other) for one, other in zip(old.rules, new.rules, strict=True))


def _bare(rule: Rule) -> Rule:
    return replace(rule, file="", line=0, examples=())


def _changes(before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    """The parts that differ in what they say, with both sayings in short."""
    if before is None or after is None:
        sayings = [GONE if body is None else body["outcome"] for body in (before, after)]
        yield "outcome", sayings[0], sayings[1]
        return
    for part in PARTS:
        short = _SHORT[part]
        old, new = short(before[part]), short(after[part])
        if old != new:
            yield part, *_contrast(old, new)


def _contrast(old: Any, new: Any) -> tuple[str, str]:
    """Two sayings as texts; of lists only what one has and the other lacks."""
    if isinstance(old, str):
        return old, str(new)
    return tuple(  # type: ignore[return-value]
        "; ".join(item for item in one if item not in other) or "nothing" for one, other in ((old, new), (new, old))
    )


def _code(part: Mapping[str, Any]) -> str:
    named = part["recommended"] or " or ".join(part.get("candidates", ())) or "no recommendation"
    return f"{part['billed']}: {named}"


def _pricing(part: Mapping[str, Any]) -> str:
    if part["basis"] is None:
        return "not published"
    return f"{part['basis']} {part['percent']}%" if part["percent"] else str(part["basis"])


def _denial(entry: Mapping[str, Any]) -> str:
    return f"{entry['group']} {entry['carc']}" + (f" {entry['rarc']}" if entry["rarc"] else "")


_SHORT: Mapping[str, Callable[[Any], Any]] = {
    "outcome": str,
    "prior_authorization": lambda part: part["status"],
    "code": _code,
    "denials": lambda part: sorted({_denial(entry) for entry in part}),
    "documentation": lambda part: sorted({f"{entry['item']} {entry['status']}" for entry in part}),
    "edits": lambda part: sorted({f"{entry['field']}: {entry['expected']}" for entry in part}),
    "pricing": _pricing,
    "deadlines": lambda part: sorted({entry["text"] for entry in part}),
    "exclusions": lambda part: sorted({entry["reason"] for entry in part}),
    "questions": lambda part: sorted({entry["fact"] for entry in part}),
}


def _example(subject: Subject, line: ClaimLine, payer: str, part: str, before: Any, after: Any) -> dict[str, Any]:
    data = subject.claim if subject.claim is not None else claim.nested(line.facts)
    sides = {"before": before, "after": after}
    example: dict[str, Any] = {"where": subject.where, "payer": payer, "claim": data}
    for name, body in sides.items():
        if body is None:
            example[name] = {"says": None, "outcome": GONE, "rules": []}
            continue
        says = body["cautions"] if part == EXPLANATION else body[part]
        rules = [entry["rule"] for entry in body["fired"]] if part in ("outcome", EXPLANATION) else _rules(says)
        example[name] = {"says": says, "outcome": body["outcome"], "rules": rules}
    return example


def _rules(part: Any) -> list[str]:
    entries = part if isinstance(part, list) else [part]
    return sorted({rule for entry in entries for rule in entry.get("rules", ())})


def _dollars(charge: Any) -> Decimal | None:
    try:
        return Decimal(charge) if charge else None
    except InvalidOperation:
        return None


def _place(part: str) -> int:
    return PARTS.index(part) if part in PARTS else len(PARTS)


# --- telling it ----------------------------------------------------------------------------------------------------


def text(impact: Impact) -> str:
    """The impact in words, for a terminal."""
    lines = [
        f"{impact.old} → {impact.new}",
        f"{impact.lines:,} line(s): {impact.changed:,} decided otherwise (charges {_money(impact.changed_charge)}),"
        f" {impact.explained_otherwise:,} only explained otherwise, {impact.refused:,} could not be decided",
    ]
    for part, groups in impact.parts().items():
        lines += ["", f"{part.replace('_', ' ')}: {sum(group.lines for group in groups):,} line(s)"]
        for group in groups:
            lines.append(f"  {group.lines:8,}  {group.before} → {group.after}   charges {_charges(group)}")
            lines.append(f"            for example {group.example['where']}, {group.example['payer']}")
            sides = ("before", "after") if any(group.example[side]["rules"] for side in ("before", "after")) else ()
            for side in sides:
                rules = ", ".join(group.example[side]["rules"][:6]) or "no rule"
                more = len(group.example[side]["rules"]) - 6
                lines.append(f"              {side}: {rules}" + (f" and {more} more" if more > 0 else ""))
    if impact.refusals:
        lines += ["", "could not be decided:"]
        lines += [f"  {refused.where}: {refused.why}" for refused in impact.refusals]
        if impact.refused > len(impact.refusals):
            lines.append(f"  and {impact.refused - len(impact.refusals):,} more")
    return "\n".join(lines) + "\n"


def html(impact: Impact) -> str:
    """The impact as one page that needs nothing else: no script, no address outside of it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("byreport", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["money"] = _money
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
    return environment.get_template("impact.html").render(impact=impact, parts=impact.parts(), charges=_charges)


def _charges(group: Group) -> str:
    without = f", {group.uncharged:,} without a charge" if group.uncharged else ""
    return _money(group.charge) + without


def _money(amount: Decimal) -> str:
    return f"${amount:,.2f}"


__all__ = [
    "Impact",
    "ImpactError",
    "Refused",
    "Subject",
    "compare",
    "from_file",
    "from_log",
    "html",
    "open_tree",
    "text",
]

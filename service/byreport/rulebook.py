"""The rulebook: all rulesets of a tree, the policy documents beside them, and which rulesets apply to a payer.

Files are read when they are first needed, so that a decision for one payer costs the same whether the tree
holds one payer or a thousand; `load()` reads everything and reports every fault at once.
"""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from byreport import policy, rulefile, yamlfile
from byreport.findings import Finding, RulebookError, nearest
from byreport.policy import Policy
from byreport.resources import bundled
from byreport.rule import Rule, Source
from byreport.strata import strata
from byreport.vocabulary import Vocabulary, vocabulary

COMMON = "common"
BUNDLED = "bundled"
"""The origin of the rulebook that comes with the package; that of any other tree is an absolute path."""
PROGRAM_ROOTS = {"medicare": "medicare/national", "medicaid": "medicaid/federal"}
PROGRAMS = ("medicare", "medicaid", "private")


class UnknownPayer(LookupError):
    """No payer of that path; `near` holds the likeliest right paths."""

    def __init__(self, path: str, near: list[str]) -> None:
        super().__init__(f"unknown payer {path!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
        self.path = path
        self.near = near


@dataclass(frozen=True, eq=False)
class PayerRules:
    """What applies to one payer: its chain of rulesets (farthest first) and all rules in that order.

    `depth` maps a ruleset to its place in the chain: the higher, the nearer to the payer.
    """

    payer: str
    name: str
    chain: tuple[str, ...]
    rules: tuple[Rule, ...]
    depth: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def strata(self) -> tuple[list[list[Rule]], list[str]]:
        """The rules in strata, and those left out because they depend on each other in a circle."""
        return strata(self.rules)

    @cached_property
    def has_own_rules(self) -> bool:
        """Whether any rule is the payer's own, and not only of those farther up its chain."""
        return any(rule.ruleset == self.payer for rule in self.rules)

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """The rules by id."""
        return {rule.id: rule for rule in self.rules}


class Rulebook:
    """An immutable snapshot of a rules tree and its policy documents, with its content hash.

    `archive()` gives the bytes from which `Rulebook.from_archive` makes the same rulebook again.
    """

    def __init__(self, files: Mapping[str, bytes], vocabulary_: Vocabulary | None = None, origin: str = "") -> None:
        self.files = dict(sorted(files.items()))
        self.vocabulary = vocabulary_ or vocabulary()
        self.origin = origin
        self.hash = f"sha256:{hashlib.sha256(self.archive()).hexdigest()}"
        self._lock = threading.RLock()
        self._policies: dict[str, Policy | None] = {}
        self._rulesets: dict[str, tuple[Rule, ...]] = {}
        self._payers: dict[str, PayerRules] = {}
        self._faults: dict[str, list[Finding]] = {}

    @classmethod
    def open(cls, directory: Path | None = None) -> Rulebook:
        """The rulebook of a directory that holds `rules/` and `policy_docs/` (or of `rules/` itself beside them).

        Without a directory: the bundled rules. Raises RulebookError when there is no rule file.
        """
        rules, documents = roots(directory)
        files = {**_files("rules", rules), **_files("policy_docs", documents)}
        if not any(name.startswith("rules/") for name in files):
            place = str(directory or rules)
            raise RulebookError(
                [
                    Finding(
                        place,
                        0,
                        0,
                        "no-rules",
                        "no rule file is there",
                        expected="a directory with rules/**.yaml",
                    )
                ]
            )
        return cls(files, origin=str(directory.absolute()) if directory else BUNDLED)

    def archive(self) -> bytes:
        """All files as a zip archive: the same bytes for the same content, so nothing in it is compressed."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, data in self.files.items():
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        return buffer.getvalue()

    @classmethod
    def from_archive(cls, data: bytes) -> Rulebook:
        """The rulebook that `archive()` packed."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return cls({name: archive.read(name) for name in archive.namelist()}, origin="archive")

    # --- what is in the tree -----------------------------------------------------------------------------------

    def paths(self) -> list[str]:
        """Every ruleset path and payer path of the tree, in order."""
        return list(self._names)

    @cached_property
    def _names(self) -> Mapping[str, list[str]]:
        """The names of the files of each path, both in order."""
        names: dict[str, list[str]] = defaultdict(list)
        for name in self.files:
            names[owner(name)].append(name)
        return dict(sorted(names.items()))

    def payers(self) -> list[str]:
        """The paths that a claim may name as its payer."""
        return [path for path in self.paths() if path != COMMON and "/" in path]

    def policy(self, path: str) -> Policy | None:
        """The policy documents of a payer, or None when none are on file."""
        with self._lock:
            if path not in self._policies:
                self._policies[path] = self._read_policy(path)
            return self._policies[path]

    def ruleset(self, path: str) -> tuple[Rule, ...]:
        """The rules of one ruleset, by id. Faulty rules are left out; `load()` reports them."""
        with self._lock:
            if path not in self._rulesets:
                self._rulesets[path] = self._read_ruleset(path)
            return self._rulesets[path]

    def chain(self, payer: str) -> tuple[str, ...]:
        """The rulesets that apply to a payer, farthest first. Raises UnknownPayer."""
        known = self._names
        if payer not in known or payer == COMMON or "/" not in payer:
            raise UnknownPayer(payer, self.near(payer))
        program, *_ = payer.split("/")
        steps = [COMMON]
        if program in PROGRAM_ROOTS:
            steps.append(PROGRAM_ROOTS[program])
        parts = PurePosixPath(payer).parts
        steps.extend("/".join(parts[:end]) for end in range(2, len(parts) + 1))
        return tuple(dict.fromkeys(step for step in steps if step in known))

    def near(self, payer: str) -> list[str]:
        """Payer paths like `payer`, best first."""
        folded = {path.lower(): path for path in self.payers()}
        exact = folded.get(payer.strip().strip("/").lower())
        return [exact] if exact else [folded[hit] for hit in nearest(payer.lower(), folded, 3)]

    def payer(self, payer: str) -> PayerRules:
        """The rules of a payer's whole chain. Raises UnknownPayer, RulebookError when a file of the chain is faulty."""
        found = self._payers.get(payer)
        if found is not None:
            return found
        chain = self.chain(payer)
        rules = tuple(rule for step in chain for rule in self.ruleset(step))
        faults = [fault for step in chain for fault in self._faults.get(step, ())]
        if faults:
            raise RulebookError(faults)
        policy_ = self.policy(payer)
        result = PayerRules(
            payer, policy_.name if policy_ else payer, chain, rules, {step: i for i, step in enumerate(chain)}
        )
        with self._lock:
            self._payers[payer] = result
        return result

    def rules(self) -> Iterator[Rule]:
        """Every rule of the tree."""
        for path in self.paths():
            yield from self.ruleset(path)

    def rule(self, rule_id: str) -> list[Rule]:
        """The rule of that id, or the rows of the table of that id; empty when there is none."""
        return [rule for rule in self.rules() if rule_id in (rule.id, rule.table)]

    def load(self) -> list[Finding]:
        """Read every file; returns every fault of shape, type, name and source, in order."""
        for path in self.paths():
            self.policy(path)
            self.ruleset(path)
        findings = {fault for faults in self._faults.values() for fault in faults}
        findings.update(self._repeated_ids())
        return sorted(findings)

    def _repeated_ids(self) -> Iterator[Finding]:
        seen: dict[str, Rule] = {}
        for rule in self.rules():
            first = seen.setdefault(rule.id, rule)
            if first is not rule:
                yield Finding(
                    rule.file,
                    rule.line,
                    1,
                    "duplicate-id",
                    f"the rule id {rule.id!r} stands twice",
                    found=rule.id,
                    expected=f"an id of its own (the first is at {first.file}:{first.line})",
                )

    # --- reading -------------------------------------------------------------------------------------------------

    def _documents(self, root: str, path: str) -> list[yamlfile.Document]:
        return [
            yamlfile.parse(self.files[name], name) for name in self._names.get(path, ()) if name.startswith(root + "/")
        ]

    def _read_policy(self, path: str) -> Policy | None:
        result: Policy | None = None
        for document in self._documents("policy_docs", path):
            read, file = policy.build(document)
            if read is not None and read.payer != path:
                file.add(
                    ("payer",),
                    "payer",
                    f"the file stands in the place of {path!r}",
                    found=read.payer,
                    expected=path,
                )
            self._faults.setdefault(path, []).extend(file.findings)
            if read is not None:
                result = read if result is None else policy.merged(result, read)
        return result

    def _read_ruleset(self, path: str) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        for file in self._documents("rules", path):
            built = rulefile.build(file, self.vocabulary, lambda d, s, payer: self._source(payer or path, d, s))
            if built is not None:
                if built.path != path:
                    file.add(
                        ("ruleset",),
                        "ruleset",
                        "the ruleset does not fit the file's place in the tree",
                        found=built.path,
                        expected=path,
                    )
                rules.extend(built.rules)
            self._faults.setdefault(path, []).extend(dict.fromkeys(file.findings))
        return tuple(sorted(rules, key=lambda rule: rule.id))

    def _source(self, payer: str, document: str, statement: str) -> Source | None:
        found = self.policy(payer)
        return found.source(document, statement) if found else None


def owner(name: str) -> str:
    """The payer or ruleset path that a file of the tree belongs to.

    `rules/medicaid/TX.yaml` is medicaid/TX. `common` and the like may be spread over several files of one
    directory: every file below `rules/common/` belongs to `common`.
    """
    path = PurePosixPath(name).with_suffix("")
    parts = path.parts[1:]
    return COMMON if parts[0] == COMMON else "/".join(parts)


def roots(directory: Path | None) -> tuple[Path, Path]:
    """Where the rule files and the policy documents of `Rulebook.open(directory)` stand."""
    if directory is None:
        return bundled("rules"), bundled("policy_docs")
    if (directory / "rules").is_dir():
        return directory / "rules", directory / "policy_docs"
    return directory, directory.parent / "policy_docs"


def _files(root: str, directory: Path) -> dict[str, bytes]:
    if not directory.is_dir():
        return {}
    return {
        f"{root}/{path.relative_to(directory).as_posix()}": path.read_bytes()
        for path in sorted(directory.rglob("*.yaml"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }

"""Rules that are edited while the service answers: a changed tree is checked, then taken over whole.

The tree is looked at once a second. Polling and not the operating system's notices: those are not sent on network and
many container file systems, get lost when a directory is renamed, and need a dependency; the state of 400 files is
read in a few milliseconds. What counts is not only the time of change: size, inode and the time of the inode's change
see an editor that renames a new file into place and a copy that keeps the old time, and every half minute the contents
themselves are compared, for file systems that tell none of these.

A tree that holds still is read once, into one snapshot; that snapshot is checked in a child process (the engine's own
faults are signals and endless loops), and that same snapshot takes the place of the rulebook that answers. A snapshot
with a fault changes nothing but `Live.fault`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from byreport.docket import Docket
from byreport.engine import Engine, Handles
from byreport.examples import given_facts
from byreport.examples import run as run_examples
from byreport.findings import Finding, RulebookError
from byreport.log import now
from byreport.reference import Reference
from byreport.resources import in_checkout
from byreport.rule import Rule
from byreport.rulebook import BUNDLED, Rulebook, UnknownPayer, owner, roots

EVERY = 1.0
"""Seconds between two looks at the tree."""
SETTLED = 0.3
"""Seconds that a changed tree has to hold still before it is read: an edit may touch several files."""
COMPARED = 30.0
"""Seconds after which the contents are compared although nothing seems to have changed."""
CHECK_SECONDS = 300.0
"""A check that takes longer has met an endless loop of the engine."""

Signature = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True)
class Fault:
    """Why the rules on disk are not the rules that answer.

    `since` is UTC as the log writes moments; `rulebook` is the content hash of the refused tree, None when it could
    not be read.
    """

    since: str
    rulebook: str | None
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        first = self.findings[0]
        place = f"{first.file}:{first.line}: " if first.line else f"{first.file}: "
        more = f" (and {len(self.findings) - 1} more)" if len(self.findings) > 1 else ""
        return place + first.message + more


class Live:
    """Keeps a docket's rulebook at what stands on disk.

    `fault` says what is wrong with the tree on disk, None when it is the one that answers; `passed` is the content
    hash of the tree that was last found to have no fault. `say` gets a line for the log whenever either changes.
    """

    def __init__(
        self, docket: Docket, say: Callable[[str], None], every: float = EVERY, settled: float = SETTLED
    ) -> None:
        self.docket = docket
        self.fault: Fault | None = None
        self.passed: str | None = None
        self._say = say
        self._every = every
        self._settled = settled
        origin = docket.desk.rulebook.origin
        self._directory = None if origin == BUNDLED else Path(origin)
        self._read: Signature | None = None
        self._last: Signature | None = None
        self._compared = 0.0
        self._check = Check()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="byreport-live", daemon=True)

    def start(self) -> None:
        """Watch in a thread of its own; the rules inside an installed package never change, and are not watched."""
        if self._directory is not None or in_checkout():
            self._thread.start()

    def close(self) -> None:
        """Stop watching, and any check under way."""
        self._stop.set()
        self._check.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                changing = self.look()
            except Exception as error:  # watching goes on, whatever a file system or a file comes up with
                changing = False
                self._refuse(None, [_finding("rules", "watch", f"the tree can't be watched: {error!r}")])
            self._stop.wait(self._settled if changing else self._every)

    def look(self) -> bool:
        """One look at the tree, and all that follows from it; whether the tree is changing just now."""
        seen = signature(self._directory)
        stale = time.monotonic() - self._compared > COMPARED
        if seen == self._read and not stale:
            return False
        if seen != self._last and self._last is not None:
            self._last = seen
            return True
        self._last = seen
        try:
            rulebook = Rulebook.open(self._directory)
        except FileNotFoundError:
            return True  # a file went away while the tree was read
        except RulebookError as error:
            self._read = seen
            self._refuse(None, error.findings)
            return False
        except OSError as error:
            self._read = seen
            self._refuse(None, [_finding(str(error.filename or "rules"), "unreadable", str(error.strerror))])
            return False
        if signature(self._directory) != seen:
            return True
        self._read, self._compared = seen, time.monotonic()
        self._consider(rulebook)
        return False

    def _consider(self, rulebook: Rulebook) -> None:
        answering = self.docket.desk.rulebook
        if rulebook.hash == answering.hash == self.passed:
            self._accept(None)
            return
        if self.fault is not None and self.fault.rulebook == rulebook.hash:
            return
        findings = self._check.run(answering, rulebook, self.docket.desk.reference)
        if findings is None:
            return
        if findings:
            self._refuse(rulebook.hash, findings)
            return
        self.passed = rulebook.hash
        self._accept(rulebook if rulebook.hash != answering.hash else None)

    def _accept(self, rulebook: Rulebook | None) -> None:
        """Take a rulebook over; None: the one that answers stays, and is what stands on disk."""
        if rulebook is not None:
            self.docket.desk = self.docket.desk.successor(rulebook)
            self._say(f"rules: {rulebook.hash} answers from now on")
        elif self.fault is not None:
            self._say("rules: the rules on disk are again those that answer")
        self.fault = None

    def _refuse(self, hash: str | None, findings: Iterable[Finding]) -> None:
        told = tuple(findings)
        if self.fault is not None and (self.fault.rulebook, self.fault.findings) == (hash, told):
            return
        self.fault = Fault(now(), hash, told)
        for finding in told[:20]:
            self._say("rules: " + str(finding).replace("\n    ", "; "))
        stays = self.docket.desk.rulebook.hash
        self._say(f"rules: {len(told)} fault(s) in the tree on disk; {stays} still answers")


def signature(directory: Path | None) -> Signature:
    """What the file system tells of each file of a rules tree, without reading any."""
    found = []
    for root in roots(directory):
        for name, _, files in _walk(root):
            for file in files:
                if file.endswith(".yaml") and not file.startswith("."):
                    path = os.path.join(name, file)
                    with contextlib.suppress(FileNotFoundError):
                        told = os.stat(path)
                        if stat.S_ISREG(told.st_mode):
                            found.append((path, told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino))
    return tuple(sorted(found))


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for name, directories, files in os.walk(root):
        directories[:] = [directory for directory in directories if not directory.startswith(".")]
        yield name, directories, files


# --- the check, in a process of its own ------------------------------------------------------------------------------


class Check:
    """Runs checks in child processes, one at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, before: Rulebook, after: Rulebook, reference: Reference) -> list[Finding] | None:
        """What is wrong with `after`, which is to follow `before`; None when the check was stopped."""
        job = pickle.dumps((after.files, affected(before, after), reference))
        with self._lock:
            if self._stopped:
                return None
            self._child = child = subprocess.Popen(
                [sys.executable, "-c", "from byreport.live import child; child()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the service
            )
        try:
            out, err = child.communicate(job, timeout=CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            return [_finding(_place(out), "endless", f"checking did not end within {CHECK_SECONDS:.0f} s")]
        return None if self._stopped else _findings(child.returncode, out, err)

    def stop(self) -> None:
        """End the check under way, and begin no other."""
        with self._lock:
            self._stopped = True
            if self._child is not None and self._child.poll() is None:
                self._child.kill()


def affected(before: Rulebook, after: Rulebook) -> list[str]:
    """The payers whose rules may not be the same in two rulebooks."""
    names = before.files.keys() | after.files.keys()
    changed = {owner(name) for name in names if before.files.get(name) != after.files.get(name)}
    return [path for path in after.payers() if changed & set(after.chain(path)) or _is_new(before, path)]


def _is_new(before: Rulebook, path: str) -> bool:
    try:
        before.chain(path)
    except UnknownPayer:
        return True
    return False


def child() -> None:
    """The child's side: a pickled job on standard input, JSON lines on standard output."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints must not come between
    with contextlib.suppress(OSError):
        os.nice(5)
    files, payers, reference = pickle.load(sys.stdin.buffer)
    found = check(Rulebook(files), payers, reference, lambda place: _tell(said, {"at": place}))
    _tell(said, {"findings": [finding.as_dict() for finding in found]})


def check(
    rulebook: Rulebook, payers: Iterable[str], reference: Reference, at: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """The errors of a tree: all its files, its examples, and the given payers' rules in the engine itself.

    `at` is told the file that comes next: should the engine crash, it was that one.
    """
    found = {finding for finding in rulebook.load() if finding.severity == "error"}
    if found:
        return sorted(found)
    for outcome in run_examples(rulebook, reference):
        if not outcome.passed:
            found.add(_finding(outcome.file, "example", str(outcome).split(": ", 1)[1], outcome.line))
    for payer in payers:
        place = _own_file(rulebook, payer)
        at(place)
        found.update(_in_engine(rulebook, payer, reference, place))
    return sorted(found)


def _in_engine(rulebook: Rulebook, payer: str, reference: Reference, place: str) -> Iterator[Finding]:
    rules = rulebook.payer(payer)
    by_id: dict[str, Rule] = {rule.id: rule for rule in rules.rules}
    for circular in rules.strata[1]:
        rule = by_id[circular]
        text = f"{rule.id} depends on its own conclusions through other rules"
        yield _finding(rule.file, "circle", text, rule.line)
    if rules.strata[1]:
        return
    try:
        engine = Engine(rules, Handles(rulebook.vocabulary))
        for rule in rulebook.ruleset(payer):
            for example in rule.examples:
                engine.fire(given_facts(rule, dict(example.given), reference))
        engine.close()
    except Exception as error:
        yield _finding(place, "engine", f"the engine does not take the rules of {payer}: {error}")


def _own_file(rulebook: Rulebook, payer: str) -> str:
    own = f"rules/{payer}.yaml"
    return own if own in rulebook.files else f"rules/{rulebook.chain(payer)[-1]}.yaml"


def _tell(said: IO[str], what: dict[str, Any]) -> None:
    said.write(json.dumps(what) + "\n")
    said.flush()


def _findings(code: int, out: bytes, err: bytes) -> list[Finding]:
    last = _last(out)
    if code == 0 and "findings" in last:
        return [Finding(**told) for told in last["findings"]]
    place = _place(out)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return [_finding(place, "engine-crash", f"the engine crashed on these rules ({name})")]
    lines = err.decode(errors="replace").strip().splitlines()
    return [_finding(place, "check", f"the check failed: {lines[-1] if lines else f'exit code {code}'}")]


def _last(out: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for line in io.BytesIO(out):
        with contextlib.suppress(ValueError):
            told = json.loads(line)
    return told


def _place(out: bytes) -> str:
    return str(_last(out).get("at", "rules"))


def _finding(file: str, kind: str, message: str, line: int = 0) -> Finding:
    return Finding(file, line, 1 if line else 0, kind, message)

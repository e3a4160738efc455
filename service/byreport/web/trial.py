"""An edit of one rule file, tried beside a claim line: what is wrong with it, and what it would change.

Nothing is written, nothing is recorded, and the live rulebook stays as it is. The edited rules never reach the
engine: the naive evaluator decides. The work is done in a child process with little time and memory, because
an edit under way may hold anything.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from byreport import strictjson
from byreport.argument import changes
from byreport.check import check
from byreport.claim import ClaimError
from byreport.decision import decide
from byreport.desk import Decided
from byreport.docket import Docket
from byreport.examples import run
from byreport.findings import Finding, RulebookError
from byreport.reference import Reference
from byreport.rulebook import COMMON, PROGRAM_ROOTS, Rulebook, UnknownPayer, owner
from byreport.standing import standings
from byreport.web.problems import Problem

MAX_TEXT = 300_000
"""Characters of a rule file that can be tried."""
MAX_CLAIM = 50_000
SECONDS = 8
MEMORY = 2_000_000_000
"""Bytes of address space that the trial may take beyond what the service has."""
MAX_FINDINGS = 50

_CITED = re.compile(r"\bpayer:\s*['\"]?([A-Za-z0-9_/-]+)")
_TURN = threading.Lock()

EXAMPLE = {
    "payer": "medicaid/TX",
    "date_of_service": "2026-10-02",
    "claim_form": "professional",
    "setting": "office",
    "line": {"code": "J3490", "units": "1"},
    "drug": {"name": "eptinezumab-jjmr"},
}


@dataclass(frozen=True)
class Trial:
    """What came of an edit.

    `findings` are the faults and warnings in the edited file, `failed` its own examples that no longer hold, of
    `examples` that were run. `before` and `after` are the decisions on the claim line under the live rules and the
    edited ones (None where there is none; `why_not` says why), `changes` what differs, `began` and `ceased` the rules
    that fire in one of them only.
    """

    findings: tuple[Finding, ...] = ()
    examples: int = 0
    failed: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    why_not: str = ""
    changes: tuple[str, ...] = ()
    began: tuple[str, ...] = ()
    ceased: tuple[str, ...] = ()


def example_claim(file: str) -> dict[str, Any]:
    """A claim line to begin with, for the payer of a rule file."""
    path = owner(file) if file else ""
    names_a_payer = "/" in path and path not in PROGRAM_ROOTS.values()
    return {**EXAMPLE, "payer": path} if names_a_payer else dict(EXAMPLE)


def try_edit(docket: Docket, file: str, text: str, claim: str) -> Trial:
    """Try the text in the place of a rule file. Raises Problem for what can't be tried at all."""
    desk = docket.desk
    if not file.startswith("rules/") or file not in desk.rulebook.files:
        raise Problem(400, "bad-request", "choose a rule file first")
    if len(text) > MAX_TEXT or len(claim) > MAX_CLAIM:
        raise Problem(413, "body-too-large", f"a rule file of at most {MAX_TEXT:,} characters can be tried here")
    decided, why_not = _live(docket, claim)
    payer = decided.decision.payer if decided else None
    edited = _edited(desk.rulebook, file, text, payer)
    if not _TURN.acquire(timeout=SECONDS):
        raise Problem(503, "not-ready", "another edit is being tried; try again in a moment")
    try:
        return _in_child(edited, file, desk.reference, decided, why_not)
    finally:
        _TURN.release()


def _live(docket: Docket, claim: str) -> tuple[Decided | None, str]:
    """The decision of the live rules, not recorded, or why there is none."""
    try:
        return docket.decide(strictjson.loads(claim)), ""
    except (strictjson.JsonError, ClaimError, UnknownPayer) as error:
        return None, f"The claim line can't be decided: {error}"
    except RulebookError as error:
        return None, f"The live rules of the payer are faulty: {error.findings[0]}"


def _edited(rulebook: Rulebook, file: str, text: str, payer: str | None) -> dict[str, bytes]:
    """The files that the edit and the claim line need, with the edited one in its place."""
    own = owner(file)
    paths = {COMMON, own, *_chain(rulebook, own), *(_chain(rulebook, payer) if payer else ())}
    files = {name: data for name, data in rulebook.files.items() if owner(name) in paths}
    files[file] = text.encode("utf-8", "replace")
    cited = {path for data in files.values() for path in _CITED.findall(data.decode("utf-8", "replace"))}
    documents = {
        name: data for name, data in rulebook.files.items() if name.startswith("policy_docs/") and owner(name) in cited
    }
    return {**documents, **files}


def _chain(rulebook: Rulebook, path: str) -> tuple[str, ...]:
    try:
        return rulebook.chain(path)
    except UnknownPayer:
        return ()


def _in_child(
    files: Mapping[str, bytes], file: str, reference: Reference, decided: Decided | None, why_not: str
) -> Trial:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(sending, files, file, reference, decided, why_not), daemon=True)
    child.start()
    sending.close()
    try:
        if receiving.poll(SECONDS):
            found: Trial = receiving.recv()
            return found
    except EOFError:
        pass
    finally:
        child.kill()
        child.join()
        receiving.close()
    raise Problem(
        503, "not-ready", f"the edit was given up: it took more than {SECONDS} seconds or too much memory to try"
    )


def _work(
    sending: Any, files: Mapping[str, bytes], file: str, reference: Reference, decided: Decided | None, why_not: str
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    with open("/proc/self/statm") as memory:
        used = int(memory.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    sending.send(examine(files, file, reference, decided, why_not))
    sending.close()


def examine(
    files: Mapping[str, bytes], file: str, reference: Reference, decided: Decided | None, why_not: str = ""
) -> Trial:
    """Check the file among the others, run its examples, and decide the line that the live rules decided."""
    rulebook = Rulebook(files)
    path = owner(file)
    findings = [finding for finding in check(rulebook, reference) if finding.file == file and _meant(finding, path)]
    ran = [outcome for outcome in run(rulebook, reference, path) if outcome.file == file]
    failed = tuple(str(outcome) for outcome in ran if not outcome.passed)
    begun = Trial(tuple(findings[:MAX_FINDINGS]), len(ran), failed[:MAX_FINDINGS], why_not=why_not)
    return _compared(begun, rulebook, path, decided) if decided else begun


def _meant(finding: Finding, path: str) -> bool:
    """Whether a finding holds of the whole tree: what a shared rule tests may be concluded by a payer left out here."""
    return finding.kind != "never-concluded" or path not in (COMMON, *PROGRAM_ROOTS.values())


def _compared(begun: Trial, rulebook: Rulebook, path: str, decided: Decided) -> Trial:
    before = decided.decision.body
    try:
        payer = rulebook.payer(decided.decision.payer)
    except (RulebookError, UnknownPayer) as error:
        first = error.findings[0] if isinstance(error, RulebookError) else error
        return _with(begun, before=before, why_not=f"The edited rules can't decide: {str(first).splitlines()[0]}")
    fired = standings(payer, rulebook.vocabulary).of(decided.facts.keys).fired
    after = decide(payer, decided.facts, fired, rulebook.hash, rulebook.vocabulary).body
    old, new = ([firing["rule"] for firing in body["fired"]] for body in (before, after))
    apart = "" if path in payer.chain else f"{path} is not in the chain of {payer.payer}: {', '.join(payer.chain)}"
    return _with(
        begun,
        before=before,
        after=after,
        why_not=apart,
        changes=tuple(changes(before, after)),
        began=tuple(rule for rule in new if rule not in old),
        ceased=tuple(rule for rule in old if rule not in new),
    )


def _with(trial: Trial, **values: Any) -> Trial:
    return Trial(**{**vars(trial), **values})


def claim_text(claim: Any) -> str:
    """A claim line as text to edit."""
    return json.dumps(claim, ensure_ascii=False, indent=2)

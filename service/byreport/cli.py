"""The command line: the same verbs as the service, for the terminal.

Modules are imported where they are used, so that `byreport --help` answers at once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from byreport import __version__
from byreport.cli_audit import audit
from byreport.cli_batch import batch, explain_row

if TYPE_CHECKING:
    from byreport.desk import Decided
    from byreport.docket import Docket
    from byreport.findings import RulebookError
    from byreport.log import Log, Record
    from byreport.reference import Reference
    from byreport.render import Line
    from byreport.rulebook import Rulebook

INTERRUPTED = 130
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


class Unusable(click.ClickException):
    """The rules, the log or the reference data can't be used; exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the message on standard error."""
        click.echo(f"byreport: {self.message}", err=True)


@dataclass(frozen=True)
class Settings:
    """The options that every command shares. `log` is a path or a SQLAlchemy URL."""

    rules: Path | None = None
    log: str = ""
    reference: Path | None = None

    def rulebook(self, directory: Path | None = None) -> Rulebook:
        """The rules tree of the command, else of the option, else the bundled one."""
        from byreport.findings import RulebookError
        from byreport.rulebook import Rulebook

        try:
            return Rulebook.open(directory or self.rules)
        except RulebookError as error:
            raise _unusable_rules(error) from None
        except OSError as error:
            raise Unusable(f"the rules can't be read: {error}") from None

    def tables(self) -> Reference:
        """The reference data, with the overlay of the option over the bundled tables."""
        from byreport.reference import Reference

        try:
            return Reference.load(self.reference)
        except (ValueError, OSError) as error:
            raise Unusable(f"the reference data can't be used: {error}") from None

    def open_log(self, make: bool = False) -> Log:
        """The decision log; with `make` it is created where there is none."""
        from sqlalchemy.exc import SQLAlchemyError

        from byreport.log import Log, LogError

        path = None if "://" in self.log else Path(self.log)
        if path is not None and not path.exists() and not make:
            raise Unusable(f"no decision log at {path}; name another with --log or BYREPORT_LOG")
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            return Log.open(self.log)
        except (LogError, ValueError, SQLAlchemyError, ImportError, OSError) as error:
            place = path or "the address given"
            raise Unusable(f"the log at {place} can't be used: {error}; name another with --log") from None

    def docket(self) -> Docket:
        """The rules, the reference data and the log, ready to decide and record."""
        from byreport.desk import Desk
        from byreport.docket import Docket

        desk = Desk(self.rulebook(), self.tables())
        return Docket(desk, self.open_log(make=True))


_settings = click.make_pass_decorator(Settings)


def _unusable_rules(error: RulebookError) -> Unusable:
    return Unusable("the rules can't be used:\n" + "\n".join(str(finding) for finding in error.findings))


def default_log() -> str:
    """Where decisions are kept when nothing else is said: the user's own data directory."""
    from platformdirs import user_data_path

    return str(user_data_path("byreport", appauthor=False) / "byreport.db")


@contextmanager
def _answering() -> Iterator[None]:
    """A log that fails while it is used, and a rulebook that is faulty, end the command with a message."""
    from byreport.findings import RulebookError
    from byreport.log import LogError

    try:
        yield
    except RulebookError as error:
        raise _unusable_rules(error) from None
    except LogError as error:
        raise Unusable(f"the log: {error}") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="byreport")
@click.option(
    "--rules",
    envvar="BYREPORT_RULES",
    type=_DIRECTORY,
    help="Directory with rules/ and policy_docs/ instead of the bundled ones (BYREPORT_RULES).",
)
@click.option(
    "--log",
    envvar="BYREPORT_LOG",
    metavar="PATH|URL",
    help="Decision log: a file, or a database URL (BYREPORT_LOG). Default: byreport.db in your data directory.",
)
@click.option(
    "--reference",
    envvar="BYREPORT_REFERENCE",
    type=_DIRECTORY,
    help="Directory that `byreport reference import` wrote, over the bundled tables (BYREPORT_REFERENCE).",
)
@click.pass_context
def main(context: click.Context, rules: Path | None, log: str | None, reference: Path | None) -> None:
    """Decide drug claim lines billed under not-otherwise-classified HCPCS codes.

    \b
    byreport decide claim.json            one line, in words
    byreport decide --json lines.jsonl    many lines, one decision a line
    byreport explain DECISION_ID          why it was decided so
    byreport payers medicaid/TX           what is published by a payer, and what is not
    """
    context.obj = Settings(rules, log or default_log(), reference)


# --- decide --------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="Print each decision as one line of JSON, as the log holds it.")
@click.option("--short", is_flag=True, help="Leave out the rules that fired.")
@_settings
def decide(settings: Settings, files: tuple[BinaryIO, ...], as_json: bool, short: bool) -> None:
    """Decide the claim lines in FILE (- for standard input) and record each decision.

    FILE holds one claim line as a JSON object, an array of them, or one per line (JSON lines). Decisions come in the
    order of the lines, as soon as they are in the log. A line that can't be decided is named on standard error with
    what to mend; the others are decided all the same.

    \b
    Exit code: 0 every line decided; 1 some line could not be; 2 rules or log unusable; 130 stopped by Ctrl-C.

    \b
    byreport decide examples/claims/02-eptinezumab-with-its-code.json
    byreport decide --json night.jsonl > decisions.jsonl
    cat night.jsonl | byreport --log /var/lib/byreport.db decide --json -
    """
    docket = settings.docket()
    run = _Run(docket, as_json, not short, named=len(files) > 1)
    try:
        for file in files:
            with _progress(file) as read_so_far:
                run.all(file, read_so_far)
    except KeyboardInterrupt:
        click.echo(f"byreport: stopped; {run.printed} decision(s) printed, each of them is in the log", err=True)
        sys.exit(INTERRUPTED)
    finally:
        docket.close()
    sys.exit(2 if run.unusable else 1 if run.bad else 0)


@dataclass
class _Run:
    """One run over a file: decides line after line, and records and prints what is decided in groups."""

    docket: Docket
    as_json: bool
    why: bool
    named: bool
    name: str = ""
    printed: int = 0
    bad: int = 0
    unusable: bool = False
    _waiting: list[tuple[Decided, Any]] = field(default_factory=list)

    def all(self, file: BinaryIO, read_so_far: Callable[[], None]) -> None:
        from byreport import claimfile

        self.name = _name(file)
        empty = True
        for entry in claimfile.read(file):  # type: ignore[arg-type]  # files and pipes of Python have read1
            if isinstance(entry, claimfile.Pause):
                # What is decided is shown before waiting for more, so that a pipe can be asked line by line.
                self._record()
                read_so_far()
                continue
            empty = False
            if isinstance(entry, claimfile.Fault):
                self._complain(entry.line, entry.text)
            else:
                self._decide(entry.line, entry.data)
        self._record()
        if empty:
            self._complain(1, "holds no claim line; expected a JSON object, an array of them or JSON lines")

    def _decide(self, line: int, data: Any) -> None:
        from byreport.claim import ClaimError
        from byreport.findings import RulebookError
        from byreport.rulebook import UnknownPayer

        try:
            self._waiting.append((self.docket.decide(data), data))
        except ClaimError as error:
            for name, problem in error.problems.items():
                self._complain(line, f"{name}: {problem}", count=False)
            self.bad += 1
        except UnknownPayer as error:
            self._complain(line, f"payer: {error}; `byreport payers` lists them all")
        except RulebookError as error:
            self._complain(line, "payer: its rules can't be used:")
            for finding in error.findings:
                click.echo(str(finding), err=True)
            self.unusable = True

    def _complain(self, line: int, text: str, count: bool = True) -> None:
        from byreport.render import clean

        self._record()
        self.bad += count
        click.echo(f"{self.name}:{line}: {clean(text)}", err=True)

    def _record(self) -> None:
        from byreport.log import LogError

        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            texts = self.docket.record([decided for decided, _ in waiting], [claim for _, claim in waiting])
        except LogError as error:
            raise Unusable(f"the log can't be written: {error}; these lines were not decided") from None
        for (decided, _), text in zip(waiting, texts, strict=True):
            self._print(decided, text)
        sys.stdout.flush()

    def _print(self, decided: Decided, text: str) -> None:
        from byreport.render import decision_lines

        if self.as_json:
            click.echo(text)
        else:
            if self.printed or self.named:
                click.echo(f"{'=' * 100}\n{self.name + chr(10) if self.named else ''}")
            _show(decision_lines(json.loads(text), _subject(self.docket, decided), self.why))
        self.printed += 1


def _subject(docket: Docket, decided: Decided) -> str:
    shown = decided.facts.shown
    name = docket.desk.rulebook.payer(decided.decision.payer).name
    return _headline(shown["line.code"], shown.get("drug.name"), shown["date_of_service"], name)


def _headline(code: str, drug: str | None, day: str, payer: str) -> str:
    return f"{code}{' ' + drug if drug else ''} on {day}, {payer}"


def _show(lines: Sequence[Line]) -> None:
    """Print lines: with color on a terminal, as plain text elsewhere."""
    from byreport import render

    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        from rich.console import Console

        render.show(lines, Console(highlight=False))
    else:
        click.echo(render.text_of(lines), nl=False)


def _name(file: BinaryIO) -> str:
    name = getattr(file, "name", "<stdin>")
    return "-" if name == "<stdin>" else str(name)


@contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error for a file that takes long, where it disturbs no other output."""
    size = os.path.getsize(_name(file)) if os.path.isfile(_name(file)) else 0
    if size < 200_000 or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("deciding"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("deciding", total=size)
        yield lambda: progress.update(task, completed=file.tell())


# --- what was decided ----------------------------------------------------------------------------------------------


@main.command()
@click.argument("decision_id", metavar="DECISION_ID|LINE")
@click.option("--json", "as_json", is_flag=True, help="Print the decision as the log holds it.")
@click.option(
    "--batch",
    "batch_output",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The output of `byreport batch`; its decision on LINE of the input is explained.",
)
@_settings
def explain(settings: Settings, decision_id: str, as_json: bool, batch_output: Path | None) -> None:
    """Explain a decision of the log: what to do, why, on which facts and which published sources.

    \b
    byreport explain 3f2c7b1e-6a37-4d7c-9d4e-0d2f6a6f1b55
    byreport explain --json 3f2c7b1e-6a37-4d7c-9d4e-0d2f6a6f1b55 | jq .fired
    byreport explain --batch decisions.parquet 17
    """
    from byreport.facts import stored
    from byreport.render import decision_lines, facts_lines

    if batch_output is not None:
        explain_row(batch_output, decision_id, as_json)
        return
    with _answering(), _opened(settings) as log:
        record = _stored(log, decision_id)
        if as_json:
            click.echo(record.decision)
            return
        subject = _headline(record.code_billed, record.drug_name, record.date_of_service, record.payer)
        try:
            facts = stored(json.loads(record.facts), record.payer)
            told = [*decision_lines(json.loads(record.decision), subject), *facts_lines(facts)]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Unusable(f"record {record.seq} can't be told, it was altered; see `byreport audit verify`") from None
        _show(told)
        held = "and its content gives its hash" if record.intact else "BUT ITS CONTENT DOES NOT GIVE ITS HASH"
        click.echo(f"\nRecord {record.seq} of the log, {held} ({record.hash[:16]}…).")
        sys.exit(0 if record.intact else 1)


@main.command()
@click.argument("decision_id")
@click.option("--json", "as_json", is_flag=True, help="Print what differs as JSON.")
@_settings
def replay(settings: Settings, decision_id: str, as_json: bool) -> None:
    """Decide a decision of the log again, from the facts and the rulebook stored with it, and compare.

    Exit code: 0 the same, byte for byte; 1 something differs; 2 it can't be decided again.

    \b
    byreport replay 3f2c7b1e-6a37-4d7c-9d4e-0d2f6a6f1b55
    """
    from byreport import docket

    with _answering(), _opened(settings) as log:
        record = _stored(log, decision_id)
        if not record.intact:
            click.echo(
                f"record {record.seq} was altered: it does not give its hash; see `byreport audit verify`", err=True
            )
        try:
            found = docket.replay(log, record)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise Unusable(f"decision {decision_id} can't be decided again: {error}") from None
    before = json.loads(record.decision)
    differences = {part: {"stored": before.get(part), "again": found.again.get(part)} for part in found.differences}
    if as_json:
        click.echo(json.dumps({"decision_id": decision_id, "same": found.same, "differences": differences}))
    elif found.same:
        click.echo(f"the same decision, byte for byte, with rulebook {record.rulebook}")
    else:
        click.echo(f"NOT the same decision, with rulebook {record.rulebook}")
        for part, both in differences.items():
            click.echo(f"{part}\n  stored: {json.dumps(both['stored'])}\n  again:  {json.dumps(both['again'])}")
    sys.exit(0 if found.same and record.intact else 1)


@contextmanager
def _opened(settings: Settings) -> Iterator[Log]:
    log = settings.open_log()
    try:
        yield log
    finally:
        log.close()


def _stored(log: Log, decision_id: str) -> Record:
    record = log.get(decision_id.strip().lower())
    if record is None:
        raise click.BadParameter(f"the log holds no decision {decision_id}; `byreport log list` shows the latest")
    return record


@main.group("log")
def log_group() -> None:
    """Look through the decision log. What proves it is under `byreport audit`."""


@log_group.command("list")
@click.option("--payer", help="Only this payer's, for example medicaid/TX.")
@click.option("--outcome", help="Only this outcome: ready, fix, needs_information, not_billable or review.")
@click.option("--rule", help="Only decisions in which this rule fired.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@_settings
def log_list(settings: Settings, payer: str | None, outcome: str | None, rule: str | None, limit: int) -> None:
    """List the latest decisions, newest first.

    \b
    byreport log list --payer medicaid/TX --outcome fix
    """
    from byreport.log import Filters
    from byreport.render import clean

    with _answering(), _opened(settings) as log:
        for record in log.search(Filters(payer=payer, outcome=outcome, rule=rule), limit):
            drug = clean(record.drug_name or "")[:30]
            click.echo(
                f"{record.decision_id}  {record.decided_at[:19]}Z  {record.outcome:17}  {record.code_billed:5}"
                f" -> {record.code_recommended or '?':5}  {record.payer}  {drug}"
            )


# --- what is on file -----------------------------------------------------------------------------------------------


@main.command()
@click.argument("path", required=False)
@_settings
def payers(settings: Settings, path: str | None) -> None:
    """List the payers, or say what is on file for one: chain, rules, documents, what is answered and what is not.

    \b
    byreport payers
    byreport payers medicaid/TX
    """
    from byreport.payers import payer
    from byreport.payers import payers as every
    from byreport.render import payer_lines
    from byreport.rulebook import UnknownPayer

    rulebook = settings.rulebook()
    with _answering():
        if path is None:
            for line in every(rulebook):
                newest = line.newest or "undated"
                click.echo(
                    f"{line.path:44} {line.rules:4} rules {line.documents:3} documents, newest {newest:10}  {line.name}"
                )
            return
        try:
            _show(payer_lines(payer(rulebook, path.strip("/"))))
        except UnknownPayer as error:
            raise click.BadParameter(f"{error}; `byreport payers` lists them all") from None


@main.group("rules")
def rules_group() -> None:
    """Look at rules."""


@rules_group.command("show")
@click.argument("rule_id")
@click.option("--json", "as_json", is_flag=True, help="Print the rule as JSON.")
@_settings
def rules_show(settings: Settings, rule_id: str, as_json: bool) -> None:
    """Show a rule, or a table with its rows: conditions, conclusions, sources, examples, file and line.

    \b
    byreport rules show tx.noc.skysona
    byreport rules show tx.hccad.pa:skysona
    """
    from byreport.findings import nearest
    from byreport.render import rule_lines
    from byreport.ruledata import rule_or_table

    rulebook = settings.rulebook()
    rules = rulebook.rule(rule_id)
    if not rules:
        near = nearest(rule_id, {name for rule in rulebook.rules() for name in (rule.id, rule.table) if name}, 3)
        raise click.BadParameter(f"no rule {rule_id!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    if as_json:
        click.echo(json.dumps(rule_or_table(rules, rule_id), indent=1, ensure_ascii=False))
        return
    policies = [policy for path in rulebook.paths() if (policy := rulebook.policy(path)) is not None]
    statements = {
        (document.id, statement.id): statement.text
        for policy in policies
        for document, statement in policy.statements()
    }
    _show(rule_lines(rules, statements))


@main.command()
@click.argument("directory", required=False, type=_DIRECTORY)
@click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", help="How findings are printed."
)
@click.option("--only", default=None, help="Show only findings of files whose path holds this text.")
@click.option("--quick", is_flag=True, help="Leave out what has to be proved: contradictions, rules that never fire.")
@_settings
def check(settings: Settings, directory: Path | None, style: str, only: str | None, quick: bool) -> None:
    """Check a rules tree: shape, names, types, sources, examples, statements. Exit code 1 on any error.

    A tree without such errors is then proved: no two rules of a ruleset can contradict each other, every rule can
    fire. A contradiction comes with a claim line that `byreport decide` takes.

    \b
    byreport check
    byreport check my-rules --only medicaid/TX
    byreport check --format json | jq '.[] | select(.severity == "error")'
    """
    from byreport.check import check as run
    from byreport.findings import RulebookError
    from byreport.prove import prove
    from byreport.rulebook import Rulebook

    try:
        rulebook, tables = Rulebook.open(directory or settings.rules), settings.tables()
        findings = run(rulebook, tables)
        if not quick and not any(finding.severity == "error" for finding in findings):
            rulesets = {rule.ruleset for rule in rulebook.rules() if only is not None and only in rule.file}
            with _steps("proving") as progress:
                findings = sorted([*findings, *prove(rulebook, tables, progress, None if only is None else rulesets)])
    except RulebookError as error:
        findings = error.findings
    findings = [finding for finding in findings if only is None or only in finding.file]
    errors = sum(finding.severity == "error" for finding in findings)
    if style == "json":
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(str(finding))
            if finding.witness is not None:
                click.echo(f"    claim:    {json.dumps(finding.witness, ensure_ascii=False)}")
        click.echo(f"{errors} error(s), {len(findings) - errors} warning(s)")
    sys.exit(1 if errors else 0)


@main.command()
@click.argument("directory", required=False, type=_DIRECTORY)
@click.option("--only", default=None, metavar="RULESET", help="Only the ruleset of this path, for example medicaid/TX.")
@click.option("--coverage", is_flag=True, help="Also say which rules, rows and tests the examples exercise.")
@_settings
def test(settings: Settings, directory: Path | None, only: str | None, coverage: bool) -> None:
    """Run the examples in the rule files. Exit code 1 when one fails.

    With --coverage, a line for each ruleset and the total: rules that an example fires and another leaves silent, rows
    of tables that an example fires, and tests counted both ways, made true and made false. With --only as well, what
    is left out is listed.

    \b
    byreport test
    byreport test my-rules --only medicaid/TX
    byreport test --coverage
    """
    from byreport.examples import run

    rulebook = settings.rulebook(directory)
    if only is not None and only not in rulebook.paths():
        from byreport.findings import nearest

        near = nearest(only, rulebook.paths(), 3)
        raise click.BadParameter(
            f"--only: no ruleset {only!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    with _answering():
        outcomes = list(run(rulebook, settings.tables(), only))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        click.echo(str(outcome))
    if coverage:
        _show_exercise(rulebook, settings.tables(), only)
    click.echo(f"{len(outcomes)} example(s), {len(failed)} failed")
    sys.exit(1 if failed else 0)


def _show_exercise(rulebook: Rulebook, tables: Reference, only: str | None) -> None:
    from byreport.example_coverage import exercised, gaps, summary

    found = exercised(rulebook, tables, only)
    for line in gaps(found[only]) if only is not None else ():
        click.echo(line)
    for count in summary(found):
        click.echo(str(count))


@main.command()
@click.argument("directory", required=False, type=_DIRECTORY)
@click.option("--check", "only_look", is_flag=True, help="Write nothing; exit code 1 when a file is not in the style.")
@_settings
def fmt(settings: Settings, directory: Path | None, only_look: bool) -> None:
    """Write rule files in one style. Comments and meaning stay; what can't be read is left alone (exit code 1).

    \b
    byreport fmt my-rules
    byreport fmt my-rules --check
    """
    from byreport.fmt import format_tree
    from byreport.resources import bundled, in_checkout

    place = directory or settings.rules or (bundled("rules") if in_checkout() else None)
    if place is None:
        raise click.UsageError("name the directory of the rules; the bundled ones are not for editing")
    try:
        done = format_tree(place, only_look)
    except OSError as error:
        raise Unusable(f"{error.filename or place} can't be written: {error.strerror}") from None
    for path in done.changed:
        click.echo(f"{'would rewrite' if only_look else 'rewrote'} {path}")
    for finding in done.refused:
        click.echo(str(finding), err=True)
    click.echo(f"{len(done.changed)} file(s) not in the style, {done.unchanged} in it, {len(done.refused)} fault(s)")
    sys.exit(1 if done.refused or (only_look and done.changed) else 0)


@main.command()
@click.argument("old")
@click.argument("new")
@click.option("--claims", type=click.File("rb"), help="Claim lines to decide (JSON); without it, those of the log.")
@click.option(
    "--format", "style", type=click.Choice(["text", "json", "html"]), default="text", help="How the result is told."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@_settings
def impact(settings: Settings, old: str, new: str, claims: Any, style: str, output: Path | None) -> None:
    """Show which decisions change from the rules OLD to the rules NEW: directories, or git revisions.

    Changes are grouped by what changed, with counts, the charges of the lines, and one line of each kind worked out
    under both. Without --claims the decisions of the log are decided again, on the facts they had.

    \b
    byreport impact HEAD . --claims examples/claims/03-oral-drug.json
    byreport impact HEAD~5 HEAD --claims night.jsonl --format html --output impact.html
    byreport impact my-rules-before my-rules
    """
    from byreport import impact as impact_
    from byreport.findings import RulebookError

    try:
        before, after = impact_.open_tree(old), impact_.open_tree(new)
    except impact_.ImpactError as error:
        raise click.UsageError(str(error)) from None
    except RulebookError as error:
        raise _unusable_rules(error) from None
    with _answering():
        if claims is not None:
            with _progress(claims) as read_so_far:
                lines = impact_.from_file(claims, claims.name, read_so_far)
                found = impact_.compare(before, after, settings.tables(), lines, names=(old, new))
        else:
            with _opened(settings) as log, _steps("deciding") as progress:
                last = log.head()[0]
                found = impact_.compare(
                    before,
                    after,
                    settings.tables(),
                    impact_.from_log(log),
                    lambda done: progress(done, last),
                    (old, new),
                )
    told = {"text": impact_.text, "html": impact_.html}.get(style, lambda it: json.dumps(it.as_dict(), indent=1) + "\n")
    if output is None:
        click.echo(told(found), nl=False)
        return
    try:
        output.write_text(told(found), encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{output} can't be written: {error.strerror}") from None


@contextmanager
def _steps(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error for work of known length, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done, steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label)
        yield lambda done, steps: bar.update(task, completed=done, total=steps)


@main.command()
@click.argument("directory", required=False, type=_DIRECTORY)
@_settings
def coverage(settings: Settings, directory: Path | None) -> None:
    """Print per payer how many published statements rules carry out, and what is left.

    \b
    byreport coverage
    """
    from byreport.coverage import PayerCoverage
    from byreport.coverage import coverage as run

    with _answering():
        rows = run(settings.rulebook(directory))
    total = PayerCoverage("total", "", 0, 0, 0)
    for row in rows:
        total = replace(
            total,
            statements=total.statements + row.statements,
            carried_out=total.carried_out + row.carried_out,
            no_rule=total.no_rule + row.no_rule,
            open=total.open + row.open,
            rules=total.rules + row.rules,
        )
    for row in (*rows, total):
        click.echo(
            f"{row.payer:44} {row.statements:5} statements, {row.carried_out:5} carried out,"
            f" {sum(row.no_rule.values()):4} no rule, {len(row.open):3} open, {row.rules:5} rules"
        )


# --- the service, and files ----------------------------------------------------------------------------------------


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Requests that each process answers at a time; those that end together share one write to disk.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes; one a core for the highest rate, over several connections each: chance decides which process "
    "gets a connection. Each takes 260 MB, and takes up edited rules by itself.",
)
@_settings
def serve(settings: Settings, host: str, port: int, threads: int, workers: int) -> None:
    """Answer over HTTP, on this machine only: there is no access control.

    \b
    byreport serve --port 8000
    curl -s -H 'Content-Type: application/json' --data @claim.json http://127.0.0.1:8000/v1/decisions
    """
    from byreport.web.loopback import AddressRefused, loopback
    from byreport.web.server import serve as run

    try:
        address = loopback(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, port), family=family):
            pass  # the server itself would share the port with another one
    except AddressRefused as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise Unusable(f"can't listen on {address}, port {port}: {reason}; name another port with --port") from None
    name = f"[{address}]" if ":" in address else host
    click.echo(f"byreport {__version__} on http://{name}:{port}, log {settings.log.split('@')[-1]}; Ctrl-C ends it")
    run(settings.docket, host=host, port=port, threads=threads, workers=workers)


@main.command()
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path), default=Path("schemas"))
def schema(directory: Path) -> None:
    """Write the JSON Schemas of claim, decision, rules and policy documents into DIRECTORY (schemas).

    \b
    byreport schema my-rules/schemas
    """
    from byreport.schema_files import write

    try:
        directory.mkdir(parents=True, exist_ok=True)
        changed = write(directory)
    except OSError as error:
        raise Unusable(f"{directory} can't be written: {error}") from None
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo(f"the schemas in {directory} are current")


@main.group("reference")
def reference_group() -> None:
    """Bring in the code, price and NDC files that CMS and the FDA publish."""


@reference_group.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--into", required=True, type=click.Path(file_okay=False, path_type=Path), help="Directory to write.")
def reference_import(files: tuple[Path, ...], into: Path) -> None:
    """Read published FILES (HCPCS, ASP and NOC pricing, crosswalks, NDC directory; text, Excel or zip) into tables.

    Exit code 1 when rows had to be left out; each is named with file, line and column.

    \b
    byreport reference import hcpcs-april.zip asp-pricing-april.zip --into reference
    byreport --reference reference decide claim.json
    """
    from byreport.cms_files import CmsFileError, import_files

    try:
        report = import_files(files, into)
    except CmsFileError as error:
        raise Unusable(str(error)) from None
    except (OSError, ValueError) as error:
        raise Unusable(f"nothing was imported: {error}") from None
    for file in report.files:
        click.echo(f"{file.file}: {file.layout}, {file.rows_read} rows read, {file.rows_written} written")
        for remark in file.remarks:
            click.echo(f"    {remark}")
    for bad in report.bad_rows:
        click.echo(str(bad), err=True)
    tables = ", ".join(f"{name} {rows} rows" for name, rows in sorted(report.tables.items()))
    click.echo(f"in {into}: {tables or 'nothing new'}")
    sys.exit(1 if report.bad_rows else 0)


main.add_command(audit)
main.add_command(batch)


if __name__ == "__main__":
    main(prog_name="byreport")

"""The command line: the same verbs as the service, for the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from byreport import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="byreport")
def main() -> None:
    """Decide drug claim lines billed under not-otherwise-classified HCPCS codes."""


@main.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", help="How findings are printed."
)
@click.option("--only", default=None, help="Show only findings of files whose path holds this text.")
def check(directory: Path | None, style: str, only: str | None) -> None:
    """Check a rules tree: shape, names, types, sources, examples, statements. Exit 1 on any error."""
    from byreport.check import check as run
    from byreport.findings import RulebookError
    from byreport.reference import Reference
    from byreport.rulebook import Rulebook

    try:
        findings = run(Rulebook.open(directory), Reference.load())
    except RulebookError as error:
        findings = error.findings
    findings = [finding for finding in findings if only is None or only in finding.file]
    errors = sum(finding.severity == "error" for finding in findings)
    if style == "json":
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo(f"{errors} error(s), {len(findings) - errors} warning(s)")
    sys.exit(1 if errors else 0)


@main.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", default=None, help="Run only the ruleset of this path, for example medicaid/TX.")
def test(directory: Path | None, only: str | None) -> None:
    """Run the examples in the rule files. Exit 1 when one fails."""
    from byreport.examples import run
    from byreport.reference import Reference
    from byreport.rulebook import Rulebook

    outcomes = list(run(Rulebook.open(directory), Reference.load(), only))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        click.echo(str(outcome))
    click.echo(f"{len(outcomes)} example(s), {len(failed)} failed")
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def coverage(directory: Path | None) -> None:
    """Print per payer how many published statements rules carry out, and what is left."""
    from byreport.coverage import coverage as run
    from byreport.rulebook import Rulebook

    rows = run(Rulebook.open(directory))
    for row in rows:
        click.echo(
            f"{row.payer:40} {row.statements:4} statements, {row.carried_out:4} carried out, {sum(row.no_rule.values()):3} no rule, {len(row.open):3} open, {row.rules:4} rules"
        )
    total = sum(row.statements for row in rows)
    click.echo(
        f"{'total':40} {total:4} statements, {sum(r.carried_out for r in rows):4} carried out, {sum(sum(r.no_rule.values()) for r in rows):3} no rule, {sum(len(r.open) for r in rows):3} open, {sum(r.rules for r in rows):4} rules"
    )


if __name__ == "__main__":
    main()

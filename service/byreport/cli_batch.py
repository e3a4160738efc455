"""`byreport batch`: a work list in, decisions out; and the whole decision of one of its rows."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from byreport.batch import Progress

_SHOWN = 12
"""Entries of each group that the summary shows; `--summary` has them all."""


@click.command()
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="A column of a table to leave unread; may be repeated.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes. Default: one to each core, one for a small file.")
@click.option(
    "--summary",
    "summary_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the summary here too, as JSON.",
)
@click.option("--overwrite", is_flag=True, help="Start afresh and replace what is at OUT.")
@click.option("--log-decisions", is_flag=True, help="Record every decision in the decision log too (slower).")
@click.option(
    "--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True, help="Where to decide."
)
@click.option("--master", help="Spark's master URL, for example local[2]. Default: what spark-submit set.")
@click.pass_obj
def batch(
    settings: Any,
    source: str,
    output: str,
    ignore: tuple[str, ...],
    jobs: int | None,
    summary_file: Path | None,
    overwrite: bool,
    log_decisions: bool,
    engine: str,
    master: str | None,
) -> None:
    """Decide every line of IN and write a row to each to OUT; lines that can't be decided go to OUT.rejects.jsonl.

    IN is JSON lines, CSV (columns are dotted fact names, lists separated by |) or Parquet; OUT is JSON lines or
    Parquet, by their endings. Rows are short; `byreport explain --batch OUT LINE` gives one's whole decision.
    Decisions are not recorded in the log unless asked for. A batch that was stopped or killed goes on where it was
    when the same command is given again.

    \b
    Exit code: 0 every line decided; 1 some were rejected; 2 it can't be run; 130 stopped by Ctrl-C.

    \b
    byreport batch night.jsonl decisions.jsonl
    byreport batch year.csv decisions.parquet --ignore claim_id --summary summary.json
    byreport batch --engine spark --master 'local[2]' year.parquet decisions
    """
    if engine == "spark":
        if log_decisions or jobs is not None:
            raise click.UsageError("--jobs and --log-decisions go with --engine local")
        summary = _on_spark(settings, source, output, master, ignore, overwrite)
    else:
        if master is not None:
            raise click.UsageError("--master goes with --engine spark")
        summary = _here(settings, source, output, ignore, jobs, overwrite, log_decisions)
    if summary_file is not None:
        summary_file.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    _tell(summary)
    if not summary.get("complete", True):
        click.echo("byreport: stopped; the same command goes on from here", err=True)
        sys.exit(130)
    sys.exit(1 if summary["rejected"] else 0)


def _here(
    settings: Any, source: str, output: str, ignore: tuple[str, ...], jobs: int | None, overwrite: bool, logged: bool
) -> dict[str, Any]:
    from byreport import batch as batch_
    from byreport.cli import Unusable

    if logged:
        settings.open_log(make=True).close()
    job = batch_.Job(
        Path(source), Path(output), settings.rulebook(), settings.reference, ignore, jobs,
        settings.log if logged else None, overwrite,
    )  # fmt: skip
    bar = _Bar()
    try:
        return dict(batch_.run(job, bar.show).summary)
    except batch_.BatchError as error:
        raise Unusable(str(error)) from None
    except KeyboardInterrupt:
        click.echo("byreport: stopped at once; the same command goes on", err=True)
        sys.exit(130)
    finally:
        bar.close()


def _on_spark(
    settings: Any, source: str, output: str, master: str | None, ignore: tuple[str, ...], overwrite: bool
) -> dict[str, Any]:
    from byreport import batch_spark
    from byreport.cli import Unusable

    job = batch_spark.SparkJob(source, output, settings.rulebook(), master, settings.reference, ignore, overwrite)
    try:
        return batch_spark.run(job)
    except batch_spark.SparkError as error:
        raise Unusable(str(error)) from None


class _Bar:
    """A progress bar on standard error with rate and time left; on no terminal, a line now and then.

    It starts with the first news: by then the worker processes are there, and none inherits its thread.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._began = self._told = time.monotonic()

    def show(self, progress: Progress) -> None:
        rate = progress.lines / max(time.monotonic() - self._began, 0.001)
        text = f"{progress.lines:,} lines, {rate:,.0f}/s, {progress.rejected:,} rejected"
        if not sys.stderr.isatty():
            if time.monotonic() - self._told >= 10:
                self._told = time.monotonic()
                click.echo(f"{progress.done / max(progress.size, 1):.0%}: {text}", err=True)
            return
        if self._bar is None:
            self._start(progress.size)
        self._bar.update(0, completed=progress.done, description=text)

    def _start(self, size: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.add_task("", total=size)
        self._bar.start()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _tell(summary: dict[str, Any]) -> None:
    """Print the summary."""
    lines, decided, rejected = summary["lines"], summary["decided"], summary["rejected"]
    click.echo(f"{lines:,} lines: {decided:,} decided, {rejected:,} rejected", nl="seconds" not in summary)
    if "seconds" in summary:
        click.echo(f"; {summary['seconds']:,.1f} s, {summary['lines_per_second'] or 0:,.0f} lines/s")
    for group, title in (
        ("outcome", "Outcome"),
        ("prior_authorization", "Prior authorization"),
        ("denial", "Denial expected"),
        ("payer", "Payer"),
    ):
        entries = list(summary.get(group, {}).items())
        if not entries:
            continue
        click.echo(f"\n{title:44} {'lines':>12} {'charges, $':>20}")
        for name, entry in entries[:_SHOWN]:
            click.echo(f"  {name:42} {entry['lines']:12,} {float(entry['charge']):20,.2f}")
        if len(entries) > _SHOWN:
            click.echo(f"  and {len(entries) - _SHOWN} more")
    if summary.get("rejected_for"):
        named = ", ".join(f"{field} {count:,}" for field, count in list(summary["rejected_for"].items())[:_SHOWN])
        click.echo(f"\nRejected for: {named}")


def explain_row(output: Path, line: str, as_json: bool) -> None:
    """Print the whole decision on one line of a batch, made anew from its row."""
    from byreport import batch as batch_
    from byreport.cli import Unusable, _headline, _show
    from byreport.compact import RowError, facts_of
    from byreport.render import decision_lines, facts_lines

    if not line.isascii() or not line.isdigit():
        raise click.UsageError("with --batch, the number of a line of the input is expected")
    try:
        row = batch_.row_of(output, int(line))
        decision = batch_.open_compact(row, batch_.kept_rulebook(output))
    except LookupError as error:
        raise click.BadParameter(str(error)) from None
    except (batch_.BatchError, RowError) as error:
        raise Unusable(str(error)) from None
    if as_json:
        click.echo(json.dumps(decision, ensure_ascii=False, separators=(",", ":")))
        return
    facts = facts_of(row)
    known = {name: entry["is"] for name, entry in facts["facts"].items()}
    subject = _headline(known["line.code"], known.get("drug.name"), known["date_of_service"], row["payer"])
    _show([*decision_lines(decision, subject), *facts_lines(facts)])

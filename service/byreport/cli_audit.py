"""The auditor's commands: `byreport audit …`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from byreport.log import Log

_FIRST = click.option("--from", "first", type=click.IntRange(1), default=1, metavar="SEQ", help="First record.")
_LAST = click.option("--to", "last", type=click.IntRange(1), metavar="SEQ", help="Last record. Default: the log's end.")
_SHOWN = 20


@click.group("audit")
def audit() -> None:
    """Prove what the decision log holds: nothing altered, nothing lost, every decision reproducible.

    \b
    byreport audit verify                      nothing altered, removed, reordered or added
    byreport audit keygen key                  a key for checkpoints, kept away from the log
    byreport audit checkpoint --key key        sign the log's present end
    byreport audit replay --from 1 --to 5000   decide again, compare byte for byte
    """


@audit.command()
@click.option("--checkpoint", type=click.File("r"), help="A checkpoint kept from before, to prove nothing was cut off.")
@click.option("--key", type=click.File("rb"), help="The public key of the checkpoint (PEM).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def verify(settings: Any, checkpoint: Any, key: Any, as_json: bool) -> None:
    """Recompute the chain of the whole log, and name the first record that does not fit.

    Without a checkpoint, an end that was cut off or a chain that was wholly rewritten can't be seen.
    Exit code: 0 every record fits; 1 the log was tampered with; 2 it can't be read.

    \b
    byreport audit verify
    byreport audit verify --checkpoint monday.json --key key.pub
    """
    from byreport.log import Checkpoint, verify_checkpoint

    if (checkpoint is None) != (key is None):
        raise click.UsageError("--checkpoint and --key go together")
    with _log(settings) as log, _bar("verifying") as told:
        found = log.verify(told)
        if checkpoint is not None and found.ok:
            try:
                found = verify_checkpoint(log, Checkpoint.from_json(checkpoint.read()), key.read(), found)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
    breach = found.breach
    if as_json:
        named = breach and {
            "seq": breach.seq,
            "decision_id": breach.decision_id,
            "kind": breach.kind,
            "text": breach.text,
        }
        click.echo(json.dumps({"ok": found.ok, "checked": found.checked, "hash": found.hash, "breach": named or None}))
    elif breach is None:
        click.echo(f"{found.checked} record(s) fit; the last is {found.seq} with hash {found.hash}")
    else:
        click.echo(f"{breach.kind}: {breach.text}")
        if breach.decision_id:
            click.echo(f"decision {breach.decision_id}")
        click.echo(f"the {found.checked} record(s) before it fit")
    sys.exit(0 if found.ok else 1)


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def keygen(file: Path) -> None:
    """Make an Ed25519 key for checkpoints: FILE (private, keep it away from the log) and FILE.pub.

    \b
    byreport audit keygen key
    """
    from byreport.log import new_private_key, public_key_of

    private = new_private_key()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as made:
            made.write(private)
        Path(f"{file}.pub").write_bytes(public_key_of(private))
    except OSError as error:
        raise click.UsageError(f"{error.filename} can't be made: {error.strerror}") from None
    click.echo(f"{file} (private) and {file}.pub")


@audit.command("checkpoint")
@click.option("--key", type=click.File("rb"), required=True, help="The private key (PEM).")
@click.pass_obj
def make_checkpoint(settings: Any, key: Any) -> None:
    """Sign the log's present end, to be kept elsewhere and given to `byreport audit verify` later.

    \b
    byreport audit checkpoint --key key > monday.json
    """
    from byreport.log import checkpoint

    with _log(settings) as log:
        try:
            click.echo(checkpoint(log, key.read()).to_json())
        except ValueError as error:
            raise click.UsageError(f"--key: {error}") from None


@audit.command()
@_FIRST
@_LAST
@click.option("--afresh", is_flag=True, help="Reason every line out by itself, however often its situation came up.")
@click.option("--json", "as_json", is_flag=True, help="Print each difference as one line of JSON.")
@click.pass_obj
def replay(settings: Any, first: int, last: int | None, afresh: bool, as_json: bool) -> None:
    """Decide a range of records again, each under the rulebook of its time as the log keeps it, and compare.

    Every part of the decision and every column of the record has to come out the same, byte for byte.
    Exit code: 0 they do; 1 some differ, or can't be decided again; 2 the log can't be read.

    \b
    byreport audit replay
    byreport audit replay --from 120000 --to 130000 --afresh
    """
    from dataclasses import asdict

    from byreport.audit import Replayer

    differing = 0
    with _log(settings) as log, _bar("replaying") as told:
        end = log.head()[0] if last is None else min(last, log.head()[0])
        replayer = Replayer(log, afresh)
        with closing(replayer):
            for difference in replayer.run(first, end, lambda seq: told(seq - first + 1, end - first + 1)):
                differing += 1
                if as_json:
                    click.echo(json.dumps(asdict(difference)))
                elif differing <= _SHOWN:
                    place = f"record {difference.seq}, decision {difference.decision_id}: " if difference.seq else ""
                    click.echo(place + difference.text)
                elif differing == _SHOWN + 1:
                    click.echo("… and more; --json prints them all")
    done = f"{replayer.checked} record(s) decided again under {len(replayer.rulebooks)} rulebook(s)"
    click.echo(f"{done}, {differing} difference(s)", err=as_json)
    sys.exit(1 if differing else 0)


@audit.command()
@_FIRST
@_LAST
@click.option("--rulebooks", type=click.Path(file_okay=False, path_type=Path), help="Also write the rulebooks here.")
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@click.pass_obj
def export(settings: Any, first: int, last: int | None, rulebooks: Path | None, file: TextIO) -> None:
    """Write records to FILE (- for standard output) as JSON lines, with everything their hashes are taken of.

    Somebody without byreport can verify the chain from it: docs/audit.md says how.

    \b
    byreport audit export decisions.jsonl --rulebooks rulebooks
    """
    from byreport.audit import exported

    with _log(settings) as log:
        if rulebooks is not None:
            rulebooks.mkdir(parents=True, exist_ok=True)
            for kept in log.rulebooks():
                (rulebooks / f"{kept.hash.removeprefix('sha256:')}.zip").write_bytes(log.rulebook(kept.hash))
        for line in exported(log, first, last):
            file.write(line + "\n")


@contextmanager
def _log(settings: Any) -> Iterator[Log]:
    """The log of the command; what is wrong with it ends the command with a message."""
    from byreport.cli import Unusable
    from byreport.log import LogError

    with closing(settings.open_log()) as log:
        try:
            yield log
        except LogError as error:
            raise Unusable(f"the log: {error}") from None


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)

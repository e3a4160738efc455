"""A batch: a work list in, decisions out, on one machine.

The input is cut into chunks; the lines of a chunk go to worker processes by payer, so that each payer's rules are
compiled once and what was decided before is at hand; rows come back, are put in order and appended. A journal says how
far that got. Every row's decision equals that of its line decided alone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import threading
import time
import traceback
import uuid
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from byreport.batch_input import Chunk, Decoder, Input, InputError, Place, Portion, format_of, identity, open_input
from byreport.batch_journal import Journal, JournalError, State
from byreport.batch_output import Appended, framed, in_order, write_parquet
from byreport.batch_tally import Tally
from byreport.batch_work import Recipe, Result, Worker
from byreport.compact import RowError, open_row
from byreport.reference import Reference
from byreport.rulebook import Rulebook

CHUNK_LINES = 2_000
SMALL = 2_000_000
"""Bytes of input below which more than one process does not pay."""
JOURNAL_SECONDS = 1.0
MAX_ASSIGNED = 5_000
"""Payers whose worker is kept in the journal; a list with more of them holds slips, and those go anywhere."""


class BatchError(Exception):
    """A batch that can't be run or finished; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """What to decide, with what, and where to put it.

    `jobs` is the number of processes (None: as many as cores, fewer for a small input). `log` names a decision log
    in which every decision is recorded too. `overwrite` discards an unfinished run and replaces what is there.
    """

    input: Path
    output: Path
    rulebook: Rulebook
    reference: Path | None = None
    ignore: tuple[str, ...] = ()
    jobs: int | None = None
    log: str | None = None
    overwrite: bool = False
    chunk_lines: int = CHUNK_LINES
    journal_seconds: float = JOURNAL_SECONDS


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `size` (bytes, or rows of a Parquet file), and lines since this start of it."""

    done: int
    size: int
    lines: int
    rejected: int


@dataclass(frozen=True)
class Report:
    """What a run came to. `complete` is false where it was stopped; `seconds` adds up over all starts of the run."""

    complete: bool
    resumed: bool
    tally: Tally
    seconds: float
    summary: Mapping[str, Any]


def run(job: Job, progress: Callable[[Progress], None] | None = None) -> Report:
    """Decide a work list, or go on with one that was begun.

    Ctrl-C stops it after the chunks under way; a second one at once. Raises BatchError.
    """
    try:
        return _Run(job, progress or (lambda _: None)).run()
    except (InputError, JournalError, OSError) as error:
        raise BatchError(str(error)) from None


def beside(output: Path, what: str) -> Path:
    """The file beside an output: its rejects.jsonl, rulebook.zip, journal or partial rows."""
    return output.with_name(f"{output.name}.{what}")


class _Run:
    def __init__(self, job: Job, progress: Callable[[Progress], None]) -> None:
        self.job = job
        self.progress = progress
        self.columnar = _output_format(job.output) == "parquet"
        self.rejects = beside(job.output, "rejects.jsonl")
        self.partial_rows = beside(job.output, "part")
        self.partial_rejects = beside(job.output, "rejects.jsonl.part")
        self.journal_path = beside(job.output, "journal")
        self.stopping = False
        self.written = 0

    def run(self) -> Report:
        job = self.job
        if job.output.exists() and not self.journal_path.exists() and not job.overwrite:
            raise BatchError(f"{job.output} is there already; name another output, or say --overwrite")
        source = open_input(job.input, job.ignore)
        self.size = source.size
        start = State(source.start.at, source.start.line)
        self.journal = Journal(self.journal_path, self._header(), start, afresh=job.overwrite)
        if job.overwrite:
            for path in (job.output, self.rejects, self.partial_rows, self.partial_rejects):
                path.unlink(missing_ok=True)
        try:
            return self._journaled(source)
        finally:
            self.journal.close()

    def _header(self) -> dict[str, Any]:
        job = self.job
        return {
            "run": str(uuid.uuid4()),
            "jobs": job.jobs or _jobs(job.input),
            "input": identity(job.input),
            "ignore": list(job.ignore),
            "rulebook": job.rulebook.hash,
            "reference": Reference.load(job.reference).fingerprint,
            "log": job.log,
            "chunk_lines": job.chunk_lines,
            "columnar": self.columnar,
        }

    def _journaled(self, source: Input) -> Report:
        state = self.journal.state
        self.tally = Tally(state.tally)
        self.began = time.monotonic() - state.seconds
        if not state.complete:
            self._keep_rulebook()
            self.rows_file = Appended(self.partial_rows, state.rows_size)
            self.rejects_file = Appended(self.partial_rejects, state.rejects_size)
            try:
                complete = self._decide(source)
            finally:
                self.rows_file.close()
                self.rejects_file.close()
            if not complete:
                return self._report(False)
        self._finish()
        report = self._report(True)
        self.journal.remove()
        return report

    def _keep_rulebook(self) -> None:
        path, made = beside(self.job.output, "rulebook.zip"), beside(self.job.output, "rulebook.zip.tmp")
        made.write_bytes(self.job.rulebook.archive())
        made.replace(path)

    def _finish(self) -> None:
        """Give the outputs their names; done again from any point, it comes to the same."""
        if self.partial_rejects.exists():
            self.partial_rejects.replace(self.rejects)
        if self.partial_rows.exists():
            if self.columnar:
                write_parquet(self.partial_rows, self.job.output)
                self.partial_rows.unlink()
            else:
                self.partial_rows.replace(self.job.output)

    def _report(self, complete: bool) -> Report:
        seconds = time.monotonic() - self.began
        job, counted = self.job, self.tally.summary()
        summary = {
            "input": str(job.input),
            "output": str(job.output),
            "rulebook": job.rulebook.hash,
            "reference": self.journal.header["reference"],
            "complete": complete,
            "seconds": round(seconds, 3),
            "lines_per_second": round(counted["lines"] / seconds, 1) if seconds else None,
            **counted,
        }
        return Report(complete, self.journal.resumed, self.tally, seconds, summary)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, source: Input) -> bool:
        job, header, state = self.job, self.journal.header, self.journal.state
        jobs = header["jobs"]
        recipe = Recipe(job.rulebook.archive(), job.reference, header["run"], self.columnar, job.log)
        self.assignment = _Assignment(jobs, state.assigned)
        self.chunks = source.chunks(Place(state.at, state.line), job.chunk_lines)
        self.pool: _InProcess | _Processes = (
            _InProcess(recipe, source.decoder) if jobs == 1 else _Processes(recipe, source.decoder, jobs)
        )
        try:
            with _interrupts(self._stop):
                return self._drive(jobs)
        finally:
            self.pool.close()

    def _stop(self) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True

    def _drive(self, jobs: int) -> bool:
        """Keep the workers busy and append what comes back in order; True when the input is at its end."""
        waiting: deque[_Pending] = deque()
        queues: list[deque[tuple[_Pending, Portion]]] = [deque() for _ in range(jobs)]
        ended = False
        last = time.monotonic()
        after = Place(self.journal.state.at, self.journal.state.line)
        while True:
            while not ended and not self.stopping and len(waiting) < 2 * jobs + 1:
                chunk = next(self.chunks, None)
                if chunk is None:
                    ended = True
                else:
                    waiting.append(self._queued(chunk, queues))
            if self.stopping and _drop_unbegun(waiting, queues):
                ended = False
            for worker in self.pool.idle():
                if queues[worker]:
                    pending, portion = queues[worker].popleft()
                    pending.begun = True
                    self.pool.send(worker, pending, portion)
            if not waiting:
                break
            for pending, result in self.pool.results():
                pending.results.append(result)
            while waiting and len(waiting[0].results) == waiting[0].portions:
                done = waiting.popleft()
                self._append(done)
                after = done.chunk.after
                self.progress(Progress(after.at, self.size, self.written, self.tally.rejected))
            if time.monotonic() - last >= self.job.journal_seconds:
                self._journal(after, False)
                last = time.monotonic()
        self._journal(after, ended)
        return ended

    def _queued(self, chunk: Chunk, queues: list[deque[tuple[_Pending, Portion]]]) -> _Pending:
        split = self.assignment.split(chunk.keys)
        pending = _Pending(chunk, len(split), self.assignment.stored())
        for worker, indexes in split.items():
            queues[worker].append((pending, chunk.select(indexes)))
        return pending

    def _append(self, done: _Pending) -> None:
        if self.columnar:
            filled = [result.rows for result in done.results if result.lines]
            rows = framed(filled) if filled else b""
        else:
            rows = in_order([(result.lines, result.rows) for result in done.results])
        self.rows_file.append(rows)
        rejects = sorted(reject for result in done.results for reject in result.rejects)
        self.rejects_file.append(b"".join(text for _, text in rejects))
        for result in done.results:
            self.tally.add(Tally(result.tally))
            self.written += len(result.lines) + len(result.rejects)
        self.assigned = done.assigned

    def _journal(self, after: Place, complete: bool) -> None:
        self.rows_file.sync()
        self.rejects_file.sync()
        self.journal.write(
            State(
                after.at,
                after.line,
                self.rows_file.size,
                self.rejects_file.size,
                self.tally.stored(),
                getattr(self, "assigned", self.journal.state.assigned),
                time.monotonic() - self.began,
                complete,
            )
        )


@dataclass(eq=False)
class _Pending:
    """A chunk under way. `assigned` is whose worker was whose after it."""

    chunk: Chunk
    portions: int
    assigned: Mapping[str, Any]
    begun: bool = False
    results: list[Result] = field(default_factory=list)


def _drop_unbegun(waiting: deque[_Pending], queues: list[deque[tuple[_Pending, Portion]]]) -> bool:
    """Give up the chunks that no worker has seen anything of; whether there were any."""
    any_dropped = False
    while waiting and not waiting[-1].begun:
        dropped = waiting.pop()
        for queue in queues:
            if queue and queue[-1][0] is dropped:
                queue.pop()
        any_dropped = True
    return any_dropped


class _Assignment:
    """Which worker decides whose lines: always the same one, all of them about equally busy.

    It follows from the lines seen so far alone, so that a run that goes on assigns as it would have.
    """

    def __init__(self, workers: int, stored: Mapping[str, Any]) -> None:
        self.workers = workers
        self.of: dict[str, int] = dict(stored.get("of", {}))
        self.load: list[int] = list(stored.get("load", [0] * workers))

    def split(self, keys: Sequence[Any]) -> dict[int, list[int]]:
        """The indexes of a chunk's lines by worker; every worker's in order."""
        if self.workers == 1:
            return {0: list(range(len(keys)))}
        worker_of = {key: self._worker(repr(key), count) for key, count in Counter(keys).most_common()}
        result: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            result.setdefault(worker_of[key], []).append(index)
        return result

    def _worker(self, name: str, count: int) -> int:
        worker = self.of.get(name)
        if worker is None:
            if len(self.of) >= MAX_ASSIGNED:
                worker = zlib.crc32(name.encode()) % self.workers
            else:
                worker = self.of[name] = self.load.index(min(self.load))
        self.load[worker] += count
        return worker

    def stored(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        return {"of": dict(self.of), "load": list(self.load)}


# --- workers --------------------------------------------------------------------------------------------------------


class _InProcess:
    """The one worker in this process."""

    def __init__(self, recipe: Recipe, decoder: Decoder) -> None:
        self.worker = Worker(recipe, decoder)
        self.task: tuple[_Pending, Portion] | None = None

    def idle(self) -> list[int]:
        return [0] if self.task is None else []

    def send(self, _: int, pending: _Pending, portion: Portion) -> None:
        self.task = pending, portion

    def results(self) -> Iterator[tuple[_Pending, Result]]:
        if self.task is not None:
            (pending, portion), self.task = self.task, None
            yield pending, self.worker.decide(portion)

    def close(self) -> None:
        self.worker.close()


class _Processes:
    """Worker processes, each with one portion at a time. The engine is compiled in them, after the fork."""

    def __init__(self, recipe: Recipe, decoder: Decoder, count: int) -> None:
        context: Any = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods()
                                                   and os.uname().sysname == "Linux" else "spawn")  # fmt: skip
        self.pipes: list[connection.Connection] = []
        self.processes: list[Any] = []
        self.tasks: list[tuple[_Pending, Portion] | None] = [None] * count
        for _ in range(count):
            here, there = context.Pipe()
            inherited = [*self.pipes, here] if context.get_start_method() == "fork" else []
            process = context.Process(target=_serve, args=(there, inherited, recipe, decoder), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def idle(self) -> list[int]:
        return [worker for worker, task in enumerate(self.tasks) if task is None]

    def send(self, worker: int, pending: _Pending, portion: Portion) -> None:
        self.tasks[worker] = pending, portion
        try:
            self.pipes[worker].send(portion)
        except OSError:
            raise self._died(worker) from None

    def results(self) -> Iterator[tuple[_Pending, Result]]:
        """What has come back; waits for the first."""
        busy = [pipe for pipe, task in zip(self.pipes, self.tasks, strict=True) if task is not None]
        for pipe in connection.wait(busy) if busy else ():
            worker = self.pipes.index(pipe)  # type: ignore[arg-type]
            task = self.tasks[worker]
            assert task is not None
            try:
                answer = self.pipes[worker].recv()
            except (EOFError, OSError):
                raise self._died(worker) from None
            if isinstance(answer, str):
                raise BatchError(f"{_lines(task[1])}: {answer}")
            self.tasks[worker] = None
            yield task[0], answer

    def _died(self, worker: int) -> BatchError:
        self.processes[worker].join(5)
        code = self.processes[worker].exitcode
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        task = self.tasks[worker]
        where = f" while deciding {_lines(task[1])}" if task else ""
        return BatchError(f"a worker process {how}{where}; the same command goes on from there")

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process, task in zip(self.processes, self.tasks, strict=True):
            if task is not None:
                process.terminate()
            process.join()


def _lines(portion: Portion) -> str:
    return f"lines {portion.lines[0]} to {portion.lines[-1]}"


def _serve(
    pipe: connection.Connection, inherited: list[connection.Connection], recipe: Recipe, decoder: Decoder
) -> None:
    """A worker process: portions in, results out, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What is kept grows to hundreds of thousands of objects without cycles; looking through them often is in vain.
    gc.set_threshold(100_000, 50, 50)
    for other in inherited:
        # Held open here, the other workers would not see when the parent is gone.
        other.close()
    worker: Worker | None = None
    try:
        while True:
            portion = pipe.recv()
            try:
                worker = worker or Worker(recipe, decoder)
                answer: Any = worker.decide(portion)
            except Exception:
                answer = "can't be decided:\n" + traceback.format_exc()
            pipe.send(answer)
    except (EOFError, OSError):
        pass
    finally:
        if worker is not None:
            worker.close()


@contextlib.contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls `stop` instead of ending the program; only the main thread can arrange that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _jobs(path: Path) -> int:
    if path.suffix.lower() != ".parquet" and path.stat().st_size < SMALL:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _output_format(path: Path) -> str:
    found = format_of(path)
    if found == "csv" or path.suffix.lower() == ".json":
        raise BatchError(f"{path}: decisions are written as Parquet (.parquet) or JSON lines (.jsonl)")
    return found


# --- reading what a batch wrote -------------------------------------------------------------------------------------


def open_compact(row: Mapping[str, Any] | str | bytes, rulebook: Rulebook) -> dict[str, Any]:
    """The whole decision that a row of a batch's output stands for; a row is a dict or its JSON text.

    `rulebook` is the one the batch decided with, as `kept_rulebook` gives it. Raises RowError.
    """
    if isinstance(row, (str, bytes)):
        try:
            row = json.loads(row)
        except ValueError as error:
            raise RowError(f"this is no row of a batch: {error}") from None
    if not isinstance(row, Mapping):
        raise RowError("this is no row of a batch: a JSON object is expected")
    return open_row(row, rulebook)


def kept_rulebook(output: Path) -> Rulebook:
    """The rulebook that a batch decided with, from the file beside its output. Raises BatchError."""
    path = beside(output, "rulebook.zip")
    try:
        return Rulebook.from_archive(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BatchError(f"the rulebook of {output} can't be read: {error}") from None


def row_of(output: Path, line: int) -> dict[str, Any]:
    """The row of one line of the input in a batch's output. Raises LookupError where there is none, BatchError."""
    try:
        if _output_format(output) == "parquet":
            import pyarrow.parquet as pq

            for row in pq.read_table(output, filters=[("line", "==", line)]).to_pylist():
                return dict(row)
        else:
            start = f'{{"line":{line},'.encode()
            with output.open("rb") as file:
                for text in file:
                    if text.startswith(start):
                        return dict(json.loads(text))
    except (OSError, InputError, ImportError) as error:
        raise BatchError(str(error)) from None
    raise LookupError(
        f"{output} holds no decision on line {line}; was it rejected? See {beside(output, 'rejects.jsonl')}"
    )


def explain(output: Path, line: int) -> dict[str, Any]:
    """The whole decision on one line of the input. Raises LookupError, RowError, BatchError."""
    return open_compact(row_of(output, line), kept_rulebook(output))

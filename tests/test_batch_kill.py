"""A batch that is killed at random moments, and goes on each time, comes to what an uninterrupted one comes to."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import worklist

from byreport import batch
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook

KILLS = 8
PROGRAM = """
import sys
from pathlib import Path
from byreport import batch
from byreport.rulebook import Rulebook
source, output, rules, log = sys.argv[1:]
rulebook = Rulebook.from_archive(Path(rules).read_bytes())
job = batch.Job(Path(source), Path(output), rulebook, jobs=2, chunk_lines=5, log=log or None, journal_seconds=0)
report = batch.run(job, lambda progress: print(progress.lines, flush=True))
print("complete" if report.complete else "stopped", flush=True)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, rulebook: Rulebook, reference: Reference) -> Path:
    path = tmp_path_factory.mktemp("lists") / "in.jsonl"
    lines = worklist.lines("practice", 4_000, 5, rulebook, reference)
    few = [line for line in lines if line["payer"] in ("medicaid/OK", "medicaid/LA", "private/hcsc", "medicaid/XX")]
    worklist.write(iter(few[:400]), path)
    path.with_name("rulebook.zip").write_bytes(rulebook.archive())
    return path


@pytest.fixture(scope="module", params=[".jsonl", ".parquet"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, source: Path, rulebook: Rulebook
) -> Path:
    """The output of an uninterrupted run."""
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    output = tmp_path_factory.mktemp("whole") / f"out{request.param}"
    batch.run(batch.Job(source, output, rulebook, jobs=1))
    return output


def content(output: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows without what each run makes anew, and the rejects."""
    if output.suffix == ".parquet":
        import pyarrow.parquet as pq

        found = pq.read_table(output).to_pylist()
    else:
        found = [json.loads(line) for line in output.read_text().splitlines()]
    for row in found:
        del row["decision_id"], row["decided_at"]
    return found, batch.beside(output, "rejects.jsonl").read_text()


def begin(source: Path, output: Path, log: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(output), str(source.with_name("rulebook.zip")), log]
    here = {**os.environ, "PYTHONPATH": str(Path(batch.__file__).parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here)


def test_killed_again_and_again(tmp_path: Path, source: Path, whole: Path) -> None:
    output = tmp_path / f"out{whole.suffix}"
    # The decision log is the harder half: what was recorded just before a kill must not be recorded again.
    place = tmp_path / "log.db" if whole.suffix == ".jsonl" else None
    chance = random.Random(7)
    kills = 0
    deadline = time.monotonic() + 300
    while not output.exists() or batch.beside(output, "journal").exists():
        assert time.monotonic() < deadline
        running = begin(source, output, str(place or ""))
        if kills < KILLS:
            # Not before something was decided, or a slow machine would never come to an end.
            assert running.stdout is not None
            for _ in range(chance.randrange(1, 6)):
                running.stdout.readline()
            time.sleep(chance.uniform(0, 0.05))
            running.kill()
            kills += running.wait() == -signal.SIGKILL
            running.communicate()
        else:
            printed, errors = running.communicate(timeout=240)
            assert running.returncode == 0, errors
            assert printed.endswith("complete\n")
    assert kills == KILLS
    assert content(output) == content(whole)
    left = {path.name for path in tmp_path.iterdir()} - {"log.db", "log.db-wal", "log.db-shm", "log.db-queue"}
    assert left == {output.name, f"{output.name}.rejects.jsonl", f"{output.name}.rulebook.zip"}
    if place is not None:
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        log = Log.open(place)
        try:
            recorded = {record.decision_id for record in log.iterate()}
            assert recorded == {row["decision_id"] for row in rows}
            assert log.head()[0] == len(rows)
            assert log.verify().ok
        finally:
            log.close()


def test_ctrl_c_stops_after_the_lines_under_way_and_goes_on(tmp_path: Path, source: Path, whole: Path) -> None:
    output = tmp_path / f"out{whole.suffix}"
    running = begin(source, output)
    assert running.stdout is not None
    running.stdout.readline()
    running.send_signal(signal.SIGINT)
    printed, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert printed.endswith("stopped\n")
    assert not output.exists()
    again = begin(source, output)
    printed, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    # The lines that were done are not decided again.
    assert 0 < int(printed.splitlines()[-2]) < 400
    assert content(output) == content(whole)


def test_two_runs_do_not_write_one_output(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "out.jsonl"
    running = begin(source, output)
    try:
        assert running.stdout is not None
        running.stdout.readline()
        # Held where it is, or it might be done before the second run looks.
        running.send_signal(signal.SIGSTOP)
        second = begin(source, output)
        _, errors = second.communicate(timeout=60)
        assert "another run is writing this output now" in errors
    finally:
        running.kill()
        running.communicate()


def test_workers_end_with_their_parent(tmp_path: Path, source: Path) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("looks for processes in /proc")
    running = begin(source, tmp_path / "out.jsonl")
    assert running.stdout is not None
    running.stdout.readline()
    children = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    assert len(children) == 2
    running.kill()
    running.communicate()
    deadline = time.monotonic() + 30
    while any(_alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")

"""What the decision log acknowledged is there, however its writer died.

A process killed by the operating system loses its memory, not what the operating system holds for it. What a
power failure loses is another matter: for that the log asks SQLite to sync every commit
(`test_durability_settings`).
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from byreport import log as log_module
from byreport.log import Committer, Log, NewRecord, content_hash, now

ARCHIVE = b"ruleset: medicaid/TX\n"
KILLS = 40


def a_record(group: str, size: int) -> NewRecord:
    return NewRecord(
        decision_id=str(uuid.uuid4()),
        decided_at=now(),
        payer="medicaid/TX",
        outcome="fix",
        pa_status="required",
        code_billed="J3490",
        code_recommended=None,
        drug_name=None,
        date_of_service="2026-10-02",
        charge=size,
        rulebook=content_hash(ARCHIVE),
        reference=group,
        facts="{}",
        claim="{}",
        decision='{"outcome":"fix"}' * 300,
        fired=("tx.noc.one", "tx.noc.two"),
    )


def write_until_killed(path: str, seed: int, acknowledge: Any) -> None:
    """Appends and acknowledges groups of 1 to 20 records; every other writer does so in four threads."""
    log = Log.open(path)
    log.keep_rulebook(content_hash(ARCHIVE), ARCHIVE)
    threads = 1 if seed % 2 else 4
    append = Committer(log).append if threads > 1 else log.append
    sending = threading.Lock()

    def work(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        while True:
            group, size = str(uuid.uuid4()), rng.choice((1, 1, 3, 20))
            stored = append([a_record(group, size) for _ in range(size)])
            with sending:
                acknowledge.send([(record.seq, record.decision_id) for record in stored])

    for number in range(threads):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    threading.Event().wait()


def acknowledged_before_death(path: str, seed: int, rng: random.Random) -> list[tuple[int, str]]:
    # A fork server: children start within milliseconds, and inherit no threads.
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    writer = context.Process(target=write_until_killed, args=(path, seed, sender))
    writer.start()
    sender.close()
    acknowledged: list[tuple[int, str]] = []
    try:
        assert receiver.poll(30), "the writer never acknowledged anything"
        deadline = time.monotonic() + rng.uniform(0, 0.15)
        while (left := deadline - time.monotonic()) > 0:
            if receiver.poll(left):
                acknowledged += receiver.recv()
        writer.kill()
        writer.join(30)
        while True:  # what was sent before the end
            acknowledged += receiver.recv()
    except (EOFError, OSError):
        pass
    finally:
        writer.kill()
        writer.join(30)
        receiver.close()
    assert writer.exitcode == -9
    return acknowledged


def test_no_acknowledged_decision_is_lost_when_the_writer_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fork server must load the package under test, not another one that may be installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(log_module.__file__).parents[1]))
    multiprocessing.get_context("forkserver").set_forkserver_preload(["byreport.log"])
    path, rng = str(tmp_path / "log.db"), random.Random(20261002)
    acknowledged: list[tuple[int, str]] = []
    for seed in range(KILLS):
        before = len(acknowledged)
        acknowledged += acknowledged_before_death(path, seed, rng)
        assert len(acknowledged) > before
    with closing(Log.open(path)) as log:
        records = list(log.iterate())
        verification = log.verify()
    assert verification.ok, verification.breach
    assert verification.checked == len(records) >= len(acknowledged)
    stored = {(record.seq, record.decision_id) for record in records}
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= stored
    # No group was stored in part, the last ones of the killed writers included.
    groups = Counter(record.reference for record in records)
    assert all(groups[record.reference] == record.charge for record in records)

"""The auditor's commands on logs that were and were not tampered with."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byreport.audit import Replayer
from byreport.cli import main
from byreport.desk import Desk
from byreport.docket import Docket
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook

DOCS = Path(__file__).parent.parent / "docs" / "audit.md"
LINE = {"payer": "medicaid/TX", "date_of_service": "2026-01-05", "setting": "office", "line": {"code": "J3490"}}
LINES = [
    LINE,
    LINE | {"payer": "medicare/mac/novitas-jl", "drug": {"name": "eptinezumab-jjmr"}},
    LINE | {"payer": "private/uhc", "line": {"code": "J3590", "charge": "1250.00", "units": "1"}},
    LINE | {"line": {"code": "J3490", "description": "a drug, 5 mg"}},
    LINE | {"drug": {"name": "Skysona"}},
]


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return tmp_path / "decisions.db"


@pytest.fixture
def edited(rulebook: Rulebook) -> Rulebook:
    """The bundled rulebook after an edit that changes no decision's meaning but its hash."""
    name = "rules/medicaid/TX.yaml"
    return Rulebook({**rulebook.files, name: rulebook.files[name] + b"\n# looked over\n"})


@pytest.fixture
def log(location: Path, rulebook: Rulebook, edited: Rulebook, reference: Reference) -> Iterator[Log]:
    """Ten decisions, five under each of two rulebooks."""
    with closing(Log.open(location)) as opened:
        for each in (rulebook, edited):
            docket = Docket(Desk(each, reference), opened)
            docket.record([docket.decide(line) for line in LINES], LINES)
        yield opened


@pytest.fixture
def run(location: Path) -> Callable[..., Result]:
    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(main, ["--log", str(location), "audit", *map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


Run = Callable[..., Result]


def sql(location: Path, *statements: str) -> None:
    with closing(sqlite3.connect(location)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


# --- replay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [(), ("--afresh",)])
def test_every_decision_comes_out_the_same_under_its_own_rulebook(log: Log, run: Run, how: tuple[str, ...]) -> None:
    result = run("replay", *how)
    assert result.exit_code == 0
    assert result.stdout == "10 record(s) decided again under 2 rulebook(s), 0 difference(s)\n"


def test_a_range(log: Log, run: Run) -> None:
    assert "3 record(s) decided again under 2 rulebook(s)" in run("replay", "--from", 4, "--to", 6).stdout
    assert "5 record(s) decided again under 1 rulebook(s)" in run("replay", "--from", 6, "--to", 99).stdout


def test_rulebooks_and_payers_are_compiled_once(log: Log) -> None:
    with closing(Replayer(log)) as replayer:
        assert list(replayer.run()) == []
        assert replayer.rulebooks == {record.rulebook for record in log.iterate()}
        assert [len(desk._compiled) for desk in replayer._desks.values()] == [3, 3]


def rechained(location: Path, seq: int, **columns: Any) -> None:
    """Write one record anew with other content, and every hash behind it, as somebody with SQL and our code could."""
    from byreport import log as log_module

    with closing(Log.open(location)) as log:
        records = list(log.iterate())
    with closing(sqlite3.connect(location)) as database:
        before = log_module.GENESIS
        for record in records:
            values = {name: getattr(record, name) for name in log_module._HASHED}
            if record.seq == seq:
                values |= columns
            forged = log_module.NewRecord(**values)
            own = log_module.record_hash(forged, record.seq, before)
            database.execute(
                "UPDATE decision SET prev_hash = ?, hash = ?, outcome = ?, template = NULL, fired_rules = ?,"
                " decision = ?, facts = ?, claim = ? WHERE seq = ?",
                (
                    before,
                    own,
                    forged.outcome,
                    "\n".join(forged.fired),
                    log_module._pack(forged.decision.encode()),
                    log_module._pack(forged.facts.encode()),
                    log_module._pack(forged.claim.encode()),
                    record.seq,
                ),
            )
            for rule in forged.fired:
                database.execute("INSERT INTO fired VALUES (?, ?)", (record.seq, rule))
            before = own
        database.commit()


def test_a_decision_written_anew_with_its_whole_chain_is_found_by_replay(log: Log, location: Path, run: Run) -> None:
    [record] = log.iterate(3, 3)
    text = json.loads(record.decision)
    text["prior_authorization"]["status"] = "not_required"
    rechained(location, 3, decision=json.dumps(text, ensure_ascii=False, separators=(",", ":")))
    assert run("verify").exit_code == 0, "the chain alone can't show it"
    result = run("replay")
    assert result.exit_code == 1
    first, last = result.stdout.splitlines()
    assert first == f"record 3, decision {record.decision_id}: decided again it differs in prior_authorization"
    assert last.endswith("1 difference(s)")
    told = json.loads(run("replay", "--json").stdout)
    assert (told["seq"], told["decision_id"], told["parts"]) == (3, record.decision_id, ["prior_authorization"])


def test_a_column_that_says_other_than_the_decision_is_found(log: Log, location: Path, run: Run) -> None:
    rechained(location, 2, outcome="ready")
    assert run("verify").exit_code == 0
    assert "record 2" in run("replay").stdout
    assert "record.outcome" in run("replay").stdout


def test_an_altered_record_is_named_and_the_others_are_decided(log: Log, location: Path, run: Run) -> None:
    sql(location, "UPDATE decision SET payer = 'medicaid/OK' WHERE seq = 4")
    result = run("replay")
    assert result.exit_code == 1
    assert result.stdout.startswith("record 4, ")
    assert "does not give its hash" in result.stdout
    assert "10 record(s)" in result.stdout


def test_a_rulebook_that_is_gone(log: Log, location: Path, run: Run) -> None:
    kept = log.rulebooks()[1].hash
    sql(location, "PRAGMA foreign_keys = OFF", f"DELETE FROM rulebook WHERE hash = '{kept}'")
    result = run("replay")
    assert (result.exit_code, result.stdout.count("can't be decided again: the log keeps no rulebook")) == (1, 5)


def test_an_unreadable_record_ends_the_replay_with_its_place(log: Log, location: Path, run: Run) -> None:
    sql(location, "UPDATE decision SET facts = x'00' WHERE seq = 7")
    result = run("replay")
    assert result.exit_code == 1
    assert "record 7 can't be read" in result.stdout


# --- verify, checkpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "kind", "seq"),
    [
        (["UPDATE decision SET charge = 1 WHERE seq = 4"], "altered", 4),
        (["DELETE FROM decision WHERE seq = 5"], "removed", 5),
        (["UPDATE decision SET seq = 99 WHERE seq = 2", "UPDATE decision SET seq = 2 WHERE seq = 3",
          "UPDATE decision SET seq = 3 WHERE seq = 99"], "reordered", 2),
        (["INSERT INTO decision SELECT 11, '00000000-0000-4000-8000-000000000000', decided_at, payer, outcome,"
          " pa_status, code_billed, code_recommended, drug_name, date_of_service, charge, rulebook, reference,"
          " prev_hash, hash, fired_rules, template, facts, claim, decision FROM decision WHERE seq = 10"],
         "altered", 11),
    ],
)  # fmt: skip
def test_the_first_record_that_does_not_fit_is_named(
    log: Log, location: Path, run: Run, statements: list[str], kind: str, seq: int
) -> None:
    sql(location, *statements)
    result = run("verify")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{kind}: ")
    assert f"record {seq}" in result.stdout
    told = json.loads(run("verify", "--json").stdout)
    assert (told["ok"], told["checked"]) == (False, seq - 1)
    assert (told["breach"]["kind"], told["breach"]["seq"]) == (kind, seq)


def test_an_end_cut_off_is_found_by_a_checkpoint(log: Log, location: Path, run: Run, tmp_path: Path) -> None:
    key, kept = tmp_path / "key", tmp_path / "monday.json"
    assert run("keygen", key).exit_code == 0
    kept.write_text(run("checkpoint", "--key", key).stdout)
    assert json.loads(kept.read_text())["seq"] == 10
    sql(location, "DELETE FROM fired WHERE seq > 8", "DELETE FROM decision WHERE seq > 8")
    assert run("verify").exit_code == 0, "the chain alone can't show it"
    result = run("verify", "--checkpoint", kept, "--key", f"{key}.pub")
    assert result.exit_code == 1
    assert result.stdout.startswith("removed: the log ends at record 8")


def test_an_intact_log_says_so_as_json(log: Log, run: Run) -> None:
    assert json.loads(run("verify", "--json").stdout) == {
        "ok": True, "checked": 10, "hash": log.head()[1], "breach": None,
    }  # fmt: skip


# --- export ----------------------------------------------------------------------------------------------------------


def test_an_export_is_verified_by_the_program_in_the_documentation(log: Log, run: Run, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    out, rulebooks = tmp_path / "decisions.jsonl", tmp_path / "rulebooks"
    assert run("export", out, "--rulebooks", rulebooks).exit_code == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 10
    check = [sys.executable, "-I", "-c", program, str(out), str(rulebooks)]
    told = subprocess.run(check, capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, f"10 records fit; the last hash is {log.head()[1]}\n"), told.stderr

    lines = out.read_text(encoding="utf-8").splitlines()
    out.write_text("\n".join(lines).replace(r"\"units\":\"1\"", r"\"units\":\"2\"") + "\n", encoding="utf-8")
    assert subprocess.run(check, capture_output=True, text=True).stdout == "record 3 does not fit\n"
    out.write_text("\n".join(lines[:5] + lines[6:]) + "\n", encoding="utf-8")
    assert subprocess.run(check, capture_output=True, text=True).stdout == "record 7 does not fit\n"

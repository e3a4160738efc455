"""The command line: what it prints, where, and with which exit code; a mistake never shows a stack trace."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byreport.cli import main
from byreport.log import Log, Record

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "claims"
AFTER = EXAMPLES / "02-eptinezumab-with-its-code.json"
GOOD = {"payer": "medicaid/TX", "date_of_service": "2026-01-05", "setting": "office", "line": {"code": "J3490"}}

Run = Callable[..., Result]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "decisions.db"


@pytest.fixture
def run(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with a log of its own; no exception may come out."""
    for name in ("BYREPORT_RULES", "BYREPORT_LOG", "BYREPORT_REFERENCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, ["--log", str(log), *map(str, arguments)], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small rules tree of one private payer."""
    source = "source: {document: manual, statement: needs}"
    examples = "examples: [{given: {line.code: J3490}, fires: true}, {given: {line.code: J1100}, fires: false}]"
    tree = tmp_path / "tree"
    (tree / "rules" / "private").mkdir(parents=True)
    (tree / "policy_docs" / "private").mkdir(parents=True)
    (tree / "rules" / "private" / "acme.yaml").write_text(
        "ruleset: private/acme\ntitle: Acme\nrules:\n"
        f"  - id: acme.pa\n    title: J3490 needs authorization\n    when: {{line.code: J3490}}\n"
        f"    then: [prior_authorization: required]\n    {source}\n    {examples}\n"
    )
    (tree / "policy_docs" / "private" / "acme.yaml").write_text(
        "payer: private/acme\nname: Acme Health\ndocuments:\n"
        "  - id: manual\n    title: Manual\n    publisher: Acme\n    published: 2026-01-01\n"
        "    kind: provider manual\n    authority: primary\n    statements:\n"
        "      - {id: needs, topic: prior_authorization, statement: J3490 needs it., confidence: high}\n"
    )
    return tree


def records(log: Path) -> list[Record]:
    opened = Log.open(log)
    try:
        return list(opened.iterate())
    finally:
        opened.close()


def lines(*claims: Any) -> str:
    return "".join((claim if isinstance(claim, str) else json.dumps(claim)) + "\n" for claim in claims)


# --- decide --------------------------------------------------------------------------------------------------------


def test_the_seed_case_before_and_after_the_code(run: Run) -> None:
    before = run("decide", "--json", EXAMPLES / "01-eptinezumab-before-its-code.json")
    after = run("decide", "--json", AFTER)
    assert (before.exit_code, after.exit_code) == (0, 0)
    assert json.loads(before.stdout)["code"]["recommended"] == "J3590"
    assert json.loads(after.stdout)["code"]["recommended"] == "J3032"


def test_every_example_is_decided_and_recorded(run: Run, log: Path) -> None:
    files = sorted(EXAMPLES.glob("*.json"))
    result = run("decide", *files)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(files) >= 10
    assert [str(file) in result.stdout for file in files] == [True] * len(files)
    assert [record.claim for record in records(log)] == [
        json.dumps(json.loads(file.read_text()), ensure_ascii=False, separators=(",", ":")) for file in files
    ]


def test_json_is_the_stored_text_in_the_order_given(run: Run, log: Path) -> None:
    claims = [GOOD | {"date_of_service": f"2026-01-{day:02}"} for day in range(1, 29)]
    for text in (lines(*claims), json.dumps(claims), json.dumps(claims, indent=2)):
        result = run("decide", "--json", "-", stdin=text)
        assert result.exit_code == 0
        stored = records(log)[-len(claims) :]
        assert result.stdout.splitlines() == [record.decision for record in stored]
        assert [record.date_of_service for record in stored] == [claim["date_of_service"] for claim in claims]


def test_a_bad_line_is_named_with_its_fix_and_the_rest_is_decided(run: Run, log: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text(
        lines(
            GOOD,
            GOOD | {"setting": "offce"},
            "{oops",
            GOOD | {"payer": "medicaid/TXX"},
            "",
            GOOD | {"patient": {"name": "Somebody"}},
            "null",
            GOOD,
        )
    )
    result = run("decide", "--json", file)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == len(records(log)) == 2
    errors = result.stderr.splitlines()
    assert [line.removeprefix(f"{file}:").split(":")[0] for line in errors] == ["2", "3", "4", "6", "7"]
    assert "setting" in errors[0]
    assert "did you mean 'office'?" in errors[0]
    assert "did you mean medicaid/TX" in errors[2]
    assert "patient.name: unknown field" in errors[3]
    assert "Somebody" not in result.output


def test_words_for_people_and_short(run: Run) -> None:
    whole, short = run("decide", AFTER), run("decide", "--short", AFTER)
    assert whole.stdout.startswith("J3490 eptinezumab-jjmr on 2020-10-15, Novitas")
    assert "Fix before sending" in whole.stdout
    assert "\nWhy\n" in whole.stdout
    assert "\nWhy\n" not in short.stdout
    assert "\x1b" not in whole.stdout


def test_an_empty_file_is_a_mistake(run: Run, log: Path) -> None:
    result = run("decide", "-", stdin=" \n")
    assert result.exit_code == 1
    assert "holds no claim line" in result.stderr
    assert records(log) == []


def test_a_missing_file_is_a_usage_error(run: Run) -> None:
    result = run("decide", "no-such-file.json")
    assert result.exit_code == 2
    assert "no-such-file.json" in result.stderr


def test_unusable_rules_log_and_reference_say_what_and_how(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    runner = CliRunner()
    for arguments, wanted in (
        (["--rules", str(empty), "decide", str(AFTER)], "no rule file is there"),
        (["--log", "nonsense://here", "decide", str(AFTER)], "--log"),
        (["--log", "sqlite://", "decide", str(AFTER)], "needs a file"),
        (["--log", str(tmp_path), "decide", str(AFTER)], "can't be used"),
        (["--log", str(tmp_path / "none.db"), "explain", "x"], "no decision log at"),
    ):
        result = runner.invoke(main, arguments)
        assert result.exit_code == 2, arguments
        assert wanted in result.stderr
        assert isinstance(result.exception, SystemExit)
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_log_is_refused(run: Run, log: Path) -> None:
    log.write_text("this is no database, " * 400)
    result = run("decide", AFTER)
    assert result.exit_code == 2
    assert "can't be used" in result.stderr
    assert log.read_text().startswith("this is no database")


def test_a_faulty_rule_file_names_file_and_line(run: Run, small: Path) -> None:
    rules = small / "rules" / "private" / "acme.yaml"
    rules.write_text(rules.read_text().replace("line.code: J3490}\n    then", "line.cod: J3490}\n    then"))
    result = run("--rules", small, "decide", "-", stdin=json.dumps(GOOD | {"payer": "private/acme"}))
    assert result.exit_code == 2
    assert "rules/private/acme.yaml:6:" in result.stderr
    assert "line.code" in result.stderr


def test_rules_of_ones_own(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = json.dumps(GOOD | {"payer": "private/acme"})
    result = run("--rules", small, "decide", "--json", "-", stdin=claim)
    assert json.loads(result.stdout)["prior_authorization"]["status"] == "required"
    monkeypatch.setenv("BYREPORT_RULES", str(small))
    assert json.loads(run("decide", "--json", "-", stdin=claim).stdout)["payer"] == "private/acme"


def test_the_log_is_in_the_users_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BYREPORT_LOG", raising=False)
    assert CliRunner().invoke(main, ["decide", "--json", str(AFTER)]).exit_code == 0
    assert len(list(tmp_path.rglob("byreport.db"))) == 1


# --- processes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def process(log: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "byreport", "--log", str(log), *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "service")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        for pipe in (each.stdin, each.stdout, each.stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def test_a_pipe_is_answered_line_by_line(process: Callable[..., subprocess.Popen[bytes]]) -> None:
    asked = process("decide", "--json", "-")
    assert asked.stdin is not None
    assert asked.stdout is not None
    for day in ("2026-01-05", "2026-01-06"):
        asked.stdin.write(lines(GOOD | {"date_of_service": day}).encode())
        asked.stdin.flush()
        assert json.loads(asked.stdout.readline())["outcome"]
    asked.stdin.close()
    assert asked.wait(20) == 0


def test_ctrl_c_stops_cleanly_and_all_that_was_printed_is_in_the_log(
    process: Callable[..., subprocess.Popen[bytes]], log: Path
) -> None:
    asked = process("decide", "--json", "-")
    assert asked.stdin is not None
    assert asked.stdout is not None
    asked.stdin.write(lines(GOOD, GOOD).encode())
    asked.stdin.flush()
    printed = [asked.stdout.readline() for _ in range(2)]
    time.sleep(0.2)
    asked.send_signal(signal.SIGINT)
    rest, errors = asked.communicate(timeout=20)
    assert asked.returncode == 130
    assert rest == b""
    assert b"Traceback" not in errors
    assert b"2 decision(s) printed" in errors
    assert [record.decision.encode() + b"\n" for record in records(log)] == printed


def test_a_closed_pipe_ends_it_quietly(process: Callable[..., subprocess.Popen[bytes]], log: Path) -> None:
    asked = process("decide", "--json", "-")
    assert asked.stdin is not None
    assert asked.stdout is not None
    asked.stdin.write(lines(GOOD).encode())
    asked.stdin.flush()
    asked.stdout.readline()
    asked.stdout.close()
    asked.stdin.write(lines(*[GOOD] * 20).encode())
    asked.stdin.close()
    assert asked.wait(20) != 0
    assert asked.stderr is not None
    assert b"Traceback" not in asked.stderr.read()


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "byreport", "--version"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "service")}
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout.startswith("byreport, ")


# --- what was decided ----------------------------------------------------------------------------------------------


def test_explain_and_replay(run: Run, log: Path) -> None:
    run("decide", AFTER)
    (record,) = records(log)
    told = run("explain", record.decision_id)
    assert told.exit_code == 0
    assert "line.code is J3490 (given by the claim)" in told.stdout
    assert "drug.specific_code is J3032 (from reference data)" in told.stdout
    assert f"Record 1 of the log, and its content gives its hash ({record.hash[:16]}" in told.stdout
    assert run("explain", "--json", record.decision_id.upper()).stdout == record.decision + "\n"
    again = run("replay", record.decision_id)
    assert (again.exit_code, "the same decision" in again.stdout) == (0, True)


def test_replay_shows_what_differs(run: Run, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("decide", AFTER)
    (record,) = records(log)
    monkeypatch.setattr("byreport.decision.NOTICE", "Another text.")
    again = run("replay", record.decision_id)
    assert again.exit_code == 1
    assert "notice\n  stored:" in again.stdout
    as_json = json.loads(run("replay", "--json", record.decision_id).stdout)
    assert (as_json["same"], list(as_json["differences"])) == (False, ["notice"])


def test_unknown_decisions_are_a_usage_error(run: Run) -> None:
    run("decide", AFTER)
    for command in ("explain", "replay"):
        result = run(command, "no-such-decision")
        assert result.exit_code == 2
        assert "holds no decision" in result.stderr


def test_the_log_is_listed_and_verified(run: Run, log: Path) -> None:
    run("decide", "-", stdin=lines(GOOD, GOOD | {"payer": "medicare/mac/novitas-jl"}))
    listed = run("log", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [record.decision_id for record in reversed(records(log))]
    assert len(run("log", "list", "--payer", "medicaid/TX").stdout.splitlines()) == 1
    assert "2 record(s) fit" in run("audit", "verify").stdout


def test_an_altered_record_is_found(run: Run, log: Path) -> None:
    import sqlite3

    run("decide", AFTER)
    (record,) = records(log)
    with sqlite3.connect(log) as database:
        database.execute("UPDATE decision SET outcome = 'ready'")
    database.close()
    verified, told = run("audit", "verify"), run("explain", record.decision_id)
    assert (verified.exit_code, told.exit_code) == (1, 1)
    assert "altered" in verified.stdout
    assert "DOES NOT GIVE ITS HASH" in told.stdout


def test_checkpoints(run: Run, log: Path, tmp_path: Path) -> None:
    run("decide", AFTER)
    assert run("audit", "keygen", "key").exit_code == 0
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert run("audit", "keygen", "key").exit_code == 2
    (tmp_path / "then.json").write_text(run("audit", "checkpoint", "--key", "key").stdout)
    run("decide", AFTER)
    assert run("audit", "verify", "--checkpoint", "then.json", "--key", "key.pub").exit_code == 0
    log.unlink()
    run("decide", AFTER)
    rewritten = run("audit", "verify", "--checkpoint", "then.json", "--key", "key.pub")
    assert (rewritten.exit_code, "rewritten" in rewritten.stdout) == (1, True)
    assert run("audit", "verify", "--checkpoint", "then.json").exit_code == 2
    assert run("audit", "checkpoint", "--key", "then.json").exit_code == 2


# --- what is on file -----------------------------------------------------------------------------------------------


def test_payers(run: Run, small: Path) -> None:
    listed = run("--rules", small, "payers").stdout
    assert re.fullmatch(r"private/acme +1 rules +1 documents, newest 2026-01-01 +Acme Health\n", listed)
    told = run("--rules", small, "payers", "private/acme").stdout
    assert told.startswith("Acme Health (private/acme)\nchain: private/acme\n")
    assert "whether authorization is needed: rules of private/acme (1); sources of 2026-01-01, primary" in told
    assert "- how it is priced" in told.split("Nothing on file says")[1]
    assert "needs: J3490 needs it. (acme.pa)" in told
    unknown = run("--rules", small, "payers", "private/acm")
    assert (unknown.exit_code, "did you mean private/acme" in unknown.stderr) == (2, True)


def test_rules_show(run: Run, small: Path) -> None:
    told = run("--rules", small, "rules", "show", "acme.pa").stdout
    for part in (
        "rules/private/acme.yaml:4",
        "line.code is J3490",
        "prior_authorization(status=required)",
        "J3490 needs it.",
        "published 2026-01-01",
        "does not fire: line.code = J1100",
    ):
        assert part in told
    assert json.loads(run("--rules", small, "rules", "show", "--json", "acme.pa").stdout)["id"] == "acme.pa"
    unknown = run("--rules", small, "rules", "show", "acme.p")
    assert (unknown.exit_code, "did you mean acme.pa?" in unknown.stderr) == (2, True)


def test_check_test_and_coverage(run: Run, small: Path) -> None:
    assert run("check", small).stdout.endswith("0 error(s), 0 warning(s)\n")
    assert run("test", small).stdout == "2 example(s), 0 failed\n"
    assert "1 statements,     1 carried out" in run("coverage", small).stdout
    rules = small / "rules" / "private" / "acme.yaml"
    rules.write_text(
        rules.read_text().replace("{line.code: J1100}", "{line.code: J3490}").replace("required", "requird")
    )
    checked = run("check", small, "--format", "json")
    assert checked.exit_code == 1
    assert "rules/private/acme.yaml" in {finding["file"] for finding in json.loads(checked.stdout)}
    assert run("check", small, "--only", "other").exit_code == 0


def test_a_failing_example_is_named(run: Run, small: Path) -> None:
    rules = small / "rules" / "private" / "acme.yaml"
    rules.write_text(rules.read_text().replace("{line.code: J1100}", "{line.code: J3490}"))
    result = run("test", small)
    assert result.exit_code == 1
    assert "rules/private/acme.yaml:4: example 2 of acme.pa should not fire, but fired" in result.stdout
    unknown = run("test", small, "--only", "private/acne")
    assert (unknown.exit_code, "did you mean private/acme?" in unknown.stderr) == (2, True)


def test_schema_writes_files_that_are_json(run: Run, tmp_path: Path) -> None:
    assert "wrote" in run("schema", tmp_path / "made").stdout
    files = sorted((tmp_path / "made").glob("*.schema.json"))
    assert len(files) == 4
    assert all(json.loads(file.read_text())["$schema"] for file in files)
    assert "are current" in run("schema", tmp_path / "made").stdout


def test_reference_files_are_imported_and_used(run: Run, tmp_path: Path) -> None:
    files = sorted((ROOT / "tests" / "data" / "cms").glob("asp_pricing*.csv"))
    result = run("reference", "import", *files, "--into", tmp_path / "reference")
    assert result.exit_code in (0, 1)
    assert "rows read" in result.stdout
    assert run("--reference", tmp_path / "reference", "decide", "--json", AFTER).exit_code == 0
    refused = run("reference", "import", AFTER, "--into", tmp_path / "other")
    assert refused.exit_code == 2


def test_the_service_refuses_other_addresses_and_a_taken_port(run: Run) -> None:
    import socket

    other = run("serve", "--host", "0.0.0.0")
    assert (other.exit_code, "loopback" in other.stderr) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--port", taken.getsockname()[1])
    assert (result.exit_code, "--port" in result.stderr) == (2, True)


def test_every_command_has_help_with_an_example() -> None:
    import click

    def commands(group: click.Group, path: list[str]) -> Iterator[list[str]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from commands(command, [*path, name])
            else:
                yield [*path, name]

    found = list(commands(main, []))
    assert len(found) >= 12
    for path in found:
        text = CliRunner().invoke(main, [*path, "--help"]).output
        assert f"byreport {' '.join(path)}" in text.split("Options:")[0].split("\n", 1)[1], path

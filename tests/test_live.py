"""Rules that are edited while the service answers: taken over whole, or not at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from byreport import live as live_module
from byreport.desk import Desk
from byreport.docket import Docket, replay
from byreport.live import Live, affected, check, signature
from byreport.log import Log
from byreport.reference import Reference
from byreport.rulebook import Rulebook
from byreport.web.app import create_app

RULES = """
ruleset: private/{payer}
title: {payer} Health
rules:
  - id: {payer}.pa
    title: A drug under a NOC code needs authorization
    when: {{line.noc: true}}
    then:
      - prior_authorization: {{status: required, how: Call desk {version}.}}
      - require_document: {document}
    source: {{document: manual, statement: pa-{version}}}
    examples:
      - given: {{line.code: J3490, date_of_service: 2026-02-03}}
        fires: true
      - given: {{line.code: J3032, date_of_service: 2026-02-03}}
        fires: {other}
"""
POLICY = """
payer: private/{payer}
name: {payer} Health
documents:
  - id: manual
    title: Provider manual {version}
    publisher: {payer} Health
    url: https://example.org/manual
    published: 2025-01-15
    kind: provider manual
    authority: primary
    statements:
      - {{id: pa-{version}, topic: prior_authorization, statement: NOC drugs need authorization., confidence: high}}
"""
DOCUMENTS = ("invoice", "ndc")
LINES = 100
LINE: dict[str, Any] = {
    "payer": "private/acme",
    "date_of_service": "2026-02-03",
    "setting": "office",
    "line": {"code": "J3490"},
    "drug": {"name": "zyxafusp", "compounded": False},
}


def write(tree: Path, version: int, payer: str = "acme", other: str = "false") -> None:
    """A tree's two files of one payer; as an editor does it, each beside its place and then renamed into it."""
    document = DOCUMENTS[version % 2]
    for root, text in (("rules", RULES), ("policy_docs", POLICY)):
        path = tree / root / "private" / f"{payer}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".tmp")
        made.write_text(text.format(payer=payer, version=version, document=document, other=other), encoding="utf-8")
        made.replace(path)


class Service:
    """A docket on a tree, watched by hand or by its thread."""

    def __init__(self, tree: Path, log: Path, reference: Reference) -> None:
        self.said: list[str] = []
        self.docket = Docket(Desk(Rulebook.open(tree), reference), Log.open(log))
        self.live = Live(self.docket, self.said.append, every=0.02, settled=0.01)
        self.client: FlaskClient = create_app(self.docket, self.live).test_client()

    def look(self) -> None:
        """Look until the tree holds still."""
        while self.live.look():
            time.sleep(0.01)

    def answer(self) -> dict[str, Any]:
        answer = self.client.post("/v1/decisions", json=LINE)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        told: dict[str, Any] = answer.get_json()
        return told

    def ready(self) -> dict[str, Any]:
        answer = self.client.get("/readyz")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        told: dict[str, Any] = answer.get_json()
        return told

    def close(self) -> None:
        self.live.close()
        self.docket.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    write(made, 1)
    return made


@pytest.fixture
def service(tree: Path, tmp_path: Path, reference: Reference) -> Iterator[Service]:
    made = Service(tree, tmp_path / "log.db", reference)
    yield made
    made.close()


@pytest.fixture
def checked_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The check without a process of its own, for tests of when it runs; the hashes of what was checked."""
    hashes: list[str] = []

    def run(self: object, before: Rulebook, after: Rulebook, reference: Reference) -> Any:
        hashes.append(after.hash)
        return check(after, affected(before, after), reference)

    monkeypatch.setattr(live_module.Check, "run", run)
    return hashes


# --- an edit ---------------------------------------------------------------------------------------------------------


def test_an_edit_changes_the_answer_without_a_restart(service: Service, tree: Path) -> None:
    service.look()
    first = service.answer()
    assert first["prior_authorization"]["how"] == "Call desk 1."
    write(tree, 2)
    assert service.answer()["prior_authorization"]["how"] == "Call desk 1."
    service.look()
    second = service.answer()
    assert second["prior_authorization"]["how"] == "Call desk 2."
    assert second["rulebook"] == Rulebook.open(tree).hash != first["rulebook"]
    assert service.ready() == {"status": "ready", "rulebook": second["rulebook"], "payers": 1}
    assert service.said == [f"rules: {second['rulebook']} answers from now on"]


def test_both_rulebooks_are_in_the_log_and_replay(service: Service, tree: Path, checked_here: list[str]) -> None:
    service.look()
    ids = [service.answer()["decision_id"]]
    write(tree, 2)
    service.look()
    ids.append(service.answer()["decision_id"])
    records = [service.docket.log.get(each) for each in ids]
    assert all(record is not None and replay(service.docket.log, record).same for record in records)
    assert len(service.docket.log.rulebooks()) == 2
    assert service.docket.log.verify().ok


def test_a_new_payer_and_a_removed_one(service: Service, tree: Path, checked_here: list[str]) -> None:
    service.look()
    write(tree, 1, "zeta")
    service.look()
    ask = {**LINE, "payer": "private/zeta"}
    assert service.client.post("/v1/decisions", json=ask).status_code == 200
    for root in ("rules", "policy_docs"):
        (tree / root / "private" / "zeta.yaml").unlink()
    service.look()
    assert service.client.post("/v1/decisions", json=ask).status_code == 404
    assert service.ready()["payers"] == 1


def test_a_record_of_the_old_rules_is_stored_after_they_were_replaced(
    service: Service, tree: Path, checked_here: list[str]
) -> None:
    """A request under way: decided by the old rulebook, which nobody has recorded with yet."""
    service.look()
    request = service.docket.for_request()
    decided = request.decide(LINE)
    write(tree, 2)
    service.look()
    assert request.decide(LINE).decision.rulebook == decided.decision.rulebook
    assert service.docket.decide(LINE).decision.rulebook != decided.decision.rulebook
    [text] = service.docket.record([decided], [LINE])
    assert json.loads(text)["rulebook"] == decided.decision.rulebook
    assert service.docket.log.verify().ok


# --- a broken edit ---------------------------------------------------------------------------------------------------


def unknown_fact(text: str) -> str:
    return text.replace("line.noc: true", "line.knoc: true")


def wrong_example(text: str) -> str:
    return text.replace("fires: false", "fires: true")


def cut_off(text: str) -> str:
    return text[: text.index("    then:")] + "    then: [\n"


def wrong_statement(text: str) -> str:
    return text.replace("statement: pa-1", "statement: pa-0")


@pytest.mark.parametrize(
    ("broken", "line"),
    [(unknown_fact, 7), (wrong_example, 5), (cut_off, 9), (wrong_statement, 11)],
)
def test_a_broken_edit_leaves_the_last_good_rules_answering(
    service: Service, tree: Path, checked_here: list[str], broken: Callable[[str], str], line: int
) -> None:
    service.look()
    good = service.answer()["rulebook"]
    file = tree / "rules" / "private" / "acme.yaml"
    text = file.read_text()
    file.write_text(broken(text))
    service.look()
    assert service.answer()["rulebook"] == good
    ready = service.ready()
    assert (ready["status"], ready["rulebook"]) == ("ready", good)
    assert ready["rules_fault"]["errors"][0]["field"].startswith(f"rules/private/acme.yaml:{line}:")
    assert str(service.live.fault).startswith(f"rules/private/acme.yaml:{line}: ")
    assert service.said[0].startswith(f"rules: rules/private/acme.yaml:{line}:")
    assert service.said[-1].endswith(f"{good} still answers")

    file.write_text(text)
    service.look()
    assert service.live.fault is None
    assert "rules_fault" not in service.ready()
    assert service.said[-1] == "rules: the rules on disk are again those that answer"


def test_a_fault_gives_way_to_the_next_good_edit(service: Service, tree: Path) -> None:
    service.look()
    write(tree, 2, other="true")
    service.look()
    assert service.live.fault is not None
    write(tree, 3)
    service.look()
    assert service.live.fault is None
    assert service.answer()["prior_authorization"]["how"] == "Call desk 3."


def test_all_rules_gone(service: Service, tree: Path, checked_here: list[str]) -> None:
    service.look()
    moved = tree.rename(tree.with_name("moved"))
    service.look()
    assert "no rule file" in str(service.live.fault)
    assert service.answer()["prior_authorization"]["how"] == "Call desk 1."
    moved.rename(tree)
    service.look()
    assert service.live.fault is None


def test_a_service_that_starts_on_broken_rules_says_so(tree: Path, tmp_path: Path, reference: Reference) -> None:
    write(tree, 1, other="true")
    service = Service(tree, tmp_path / "log.db", reference)
    try:
        service.look()
        assert "example 2 of acme.pa" in str(service.live.fault)
        assert service.ready()["rules_fault"]["rulebook"] == service.ready()["rulebook"]
        write(tree, 2)
        service.look()
        assert service.live.fault is None
    finally:
        service.close()


@pytest.mark.parametrize(
    ("child", "kind", "said"),
    [
        ("import os,signal; print('{\"at\": \"rules/private/acme.yaml\"}', flush=True); os.kill(os.getpid(), 11)",
         "engine-crash", "SIGSEGV"),
        ("import time; print('{\"at\": \"rules/private/acme.yaml\"}', flush=True); time.sleep(60)", "endless", "3 s"),
        ("raise SystemExit('no memory')", "check", "no memory"),
    ],
)  # fmt: skip
def test_a_check_that_crashes_or_never_ends_is_a_fault(
    service: Service, tree: Path, monkeypatch: pytest.MonkeyPatch, child: str, kind: str, said: str
) -> None:
    service.look()
    good = service.answer()["rulebook"]
    real = live_module.subprocess.Popen
    monkeypatch.setattr(live_module.subprocess, "Popen", lambda args, **kw: real([*args[:2], child], **kw))
    monkeypatch.setattr(live_module, "CHECK_SECONDS", 3.0)
    write(tree, 2)
    service.look()
    assert service.live.fault is not None
    [finding] = service.live.fault.findings
    assert (finding.kind, said in finding.message) == (kind, True)
    assert finding.file == ("rules" if kind == "check" else "rules/private/acme.yaml")
    assert service.answer()["rulebook"] == good


def test_closing_ends_a_check_under_way(
    service: Service, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = live_module.subprocess.Popen
    mark = tmp_path / "began"
    child = f"import time, pathlib; pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"
    monkeypatch.setattr(live_module.subprocess, "Popen", lambda args, **kw: real([*args[:2], child], **kw))
    service.live.start()
    while not mark.exists():
        time.sleep(0.01)
    began = time.monotonic()
    service.live.close()
    assert time.monotonic() - began < 5
    assert service.live.fault is None


# --- noticing --------------------------------------------------------------------------------------------------------


def test_an_edit_that_keeps_size_and_time_is_noticed(service: Service, tree: Path, checked_here: list[str]) -> None:
    service.look()
    file = tree / "rules" / "private" / "acme.yaml"
    before = file.stat()
    file.write_text(file.read_text().replace("Call desk 1.", "Call desk 7."))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    service.look()
    assert service.answer()["prior_authorization"]["how"] == "Call desk 7."


def test_an_edit_that_the_file_system_does_not_tell_is_found_by_its_content(
    service: Service, tree: Path, checked_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.look()
    blind = signature(tree)
    monkeypatch.setattr(live_module, "signature", lambda _: blind)
    write(tree, 2)
    service.look()
    assert service.answer()["prior_authorization"]["how"] == "Call desk 1."
    monkeypatch.setattr(live_module, "COMPARED", 0.0)
    service.look()
    assert service.answer()["prior_authorization"]["how"] == "Call desk 2."


def test_a_tree_switched_by_a_link(tmp_path: Path, reference: Reference, checked_here: list[str]) -> None:
    for version in (1, 2):
        write(tmp_path / f"v{version}", version)
    tree = tmp_path / "tree"
    tree.symlink_to("v1")
    service = Service(tree, tmp_path / "log.db", reference)
    try:
        service.look()
        switched = tmp_path / "next"
        switched.symlink_to("v2")
        switched.replace(tree)
        service.look()
        assert service.answer()["prior_authorization"]["how"] == "Call desk 2."
    finally:
        service.close()


def test_files_that_are_no_rules_change_nothing(service: Service, tree: Path, checked_here: list[str]) -> None:
    service.look()
    before = list(checked_here)
    (tree / "rules" / "private" / ".acme.yaml.swp").write_text("x")
    (tree / "rules" / "private" / "acme.yaml~").write_text("x")
    (tree / "rules" / ".git").mkdir()
    (tree / "rules" / ".git" / "x.yaml").write_text("x: [")
    (tree / "notes.txt").write_text("x")
    assert service.live.look() is False
    os.utime(tree / "rules" / "private" / "acme.yaml")
    service.look()
    assert checked_here == before


def test_a_tree_that_keeps_changing_is_not_read(service: Service, tree: Path, checked_here: list[str]) -> None:
    service.look()
    before = list(checked_here)
    for version in range(2, 6):
        write(tree, version)
        assert service.live.look() is True
    assert checked_here == before
    service.look()
    assert len(checked_here) == len(before) + 1
    assert service.answer()["prior_authorization"]["how"] == "Call desk 5."


def test_only_payers_that_an_edit_reaches_go_through_the_engine(tree: Path) -> None:
    write(tree, 1, "zeta")
    write(tree, 1, "zeta/north")
    before = Rulebook.open(tree)
    assert affected(before, before) == []
    write(tree, 2, "zeta")
    assert affected(before, Rulebook.open(tree)) == ["private/zeta", "private/zeta/north"]
    write(tree, 1, "zeta")
    write(tree, 1, "new")
    assert affected(before, Rulebook.open(tree)) == ["private/new"]


@pytest.mark.parametrize("checkout", [True, False])
def test_the_rules_inside_a_package_are_not_watched(
    desk: Desk, tmp_path: Path, checked_here: list[str], monkeypatch: pytest.MonkeyPatch, checkout: bool
) -> None:
    monkeypatch.setattr(live_module, "in_checkout", lambda: checkout)
    monkeypatch.setattr(Live, "look", lambda self: False)
    with closing(Log.open(tmp_path / "log.db")) as log:
        live = Live(Docket(desk, log), print)
        live.start()
        assert live._thread.is_alive() == checkout
        live.close()
        assert not live._thread.is_alive()


def test_a_tree_that_can_not_be_read_is_a_fault_until_it_can(
    service: Service, tree: Path, checked_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.look()

    def refused(directory: Path | None) -> Rulebook:
        raise PermissionError(13, "Permission denied", "rules/private/acme.yaml")

    with monkeypatch.context() as patched:
        patched.setattr(live_module.Rulebook, "open", refused)
        write(tree, 2)
        service.look()
        assert str(service.live.fault) == "rules/private/acme.yaml: Permission denied"
        assert service.ready()["rules_fault"]["rulebook"] is None
    os.utime(tree / "rules" / "private" / "acme.yaml")
    service.look()
    assert service.live.fault is None
    assert service.answer()["prior_authorization"]["how"] == "Call desk 2."


# --- under load ------------------------------------------------------------------------------------------------------


def test_no_request_sees_half_an_edit(tmp_path: Path, reference: Reference, checked_here: list[str]) -> None:
    """Threads ask while the rules change many times; some edits are broken. Whole trees take each other's place."""
    complete: dict[str, tuple[str, ...]] = {}
    broken: set[str] = set()
    for version in range(1, 25):
        made = tmp_path / f"v{version}"
        write(made, version, other="true" if version % 4 == 0 else "false")
        hash = Rulebook.open(made).hash
        if version % 4 == 0:
            broken.add(hash)
        else:
            complete[hash] = f"Call desk {version}.", DOCUMENTS[version % 2], f"Provider manual {version}"
    tree = tmp_path / "tree"
    tree.symlink_to("v1")
    service = Service(tree, tmp_path / "log.db", reference)
    stop = threading.Event()
    wanted: list[str] = []
    answers: list[list[dict[str, Any]]] = []
    faults: list[str] = []

    def ask() -> None:
        client = service.client.application.test_client()
        while not stop.is_set():
            answer = client.post("/v1/decisions", json=[LINE] * LINES)
            if answer.status_code != 200:
                faults.append(answer.get_data(as_text=True))
                return
            answers.append([result["decision"] for result in answer.get_json()["results"]])
            if client.get("/readyz").status_code != 200 or client.get("/v1/payers/private/acme").status_code != 200:
                faults.append("not ready")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    try:
        service.live.start()
        for thread in threads:
            thread.start()
        for version in range(2, 25):
            following = tmp_path / "next"
            following.symlink_to(f"v{version}")
            following.replace(tree)
            wanted.append(Rulebook.open(tree).hash)
            _until(lambda: wanted[-1] in checked_here)
        _until(lambda: service.live.fault is not None)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        service.close()
    assert faults == []
    seen = set()
    for decisions in answers:
        [hash] = {decision["rulebook"] for decision in decisions}
        for decision in decisions:
            [fired] = [each for each in decision["fired"] if each["rule"] == "acme.pa"]
            documents = {part["item"] for part in decision["documentation"]}
            told = decision["prior_authorization"]["how"], *documents, fired["source"]["title"]
            assert told == complete[hash]
        seen.add(hash)
    assert not seen & broken
    assert len(seen) > 5
    with closing(Log.open(tmp_path / "log.db")) as log:
        assert log.verify().ok
        assert log.head()[0] == LINES * len(answers)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that within two minutes")


# --- the server ------------------------------------------------------------------------------------------------------


def test_the_server_takes_an_edit_over_and_names_a_broken_one(tree: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "byreport", "--rules", str(tree), "--log", str(tmp_path / "log.db")]
    service = Path(__file__).resolve().parent.parent / "service"
    server = subprocess.Popen(
        [*command, "serve", "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(service)},
    )

    def ready() -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
                told: dict[str, Any] = json.loads(answer.read())
                return told
        except OSError:
            assert server.poll() is None
            return {}

    try:
        _until(lambda: "rulebook" in ready())
        write(tree, 2)
        edited = Rulebook.open(tree).hash
        _until(lambda: ready().get("rulebook") == edited)
        write(tree, 3, other="true")
        _until(lambda: "rules_fault" in ready())
        told = ready()
        assert told["rulebook"] == edited
        assert told["rules_fault"]["errors"][0]["field"] == "rules/private/acme.yaml:5:1"
    finally:
        server.terminate()
        out, _ = server.communicate(timeout=60)
    assert server.returncode == 0
    assert f"rules: {edited} answers from now on" in out
    assert "rules: rules/private/acme.yaml:5:1: error: example 2 of acme.pa should fire" in out

"""The batch on Spark: line by line what the local run gives.

Runs where pyspark is installed; BYREPORT_TEST_SPARK=1 makes its absence a failure instead of a skip.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import worklist

from byreport import batch, batch_spark
from byreport.reference import Reference
from byreport.rulebook import Rulebook

WANTED = os.environ.get("BYREPORT_TEST_SPARK") == "1"
LACKING = [name for name in ("pyspark", "pandas", "pyarrow") if find_spec(name) is None]
JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")

pytestmark = [
    pytest.mark.skipif(bool(LACKING) and not WANTED, reason=f"not installed: {', '.join(LACKING)}"),
    pytest.mark.skipif(not JAVA and not WANTED, reason="no Java on this machine"),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, rulebook: Rulebook, reference: Reference) -> Path:
    """Two Parquet files of a list, bad lines among them."""
    place = tmp_path_factory.mktemp("work")
    lines = worklist.lines("practice", 2_000, 9, rulebook, reference)
    few = [line for line in lines if line["payer"] in ("medicaid/OK", "medicaid/LA", "private/hcsc")][:60]
    few[7] = {**few[7], "setting": "clinic"}
    few[41] = {**few[41], "payer": "medicaid/XX"}
    (place / "in").mkdir()
    worklist.write(iter(few[:35]), place / "in" / "a.parquet")
    worklist.write(iter(few[35:]), place / "in" / "b.parquet")
    worklist.write(iter(few), place / "all.parquet")
    return place


def rows_of(path: Path) -> dict[int, dict[str, Any]]:
    import pyarrow.parquet as pq

    found = {row["line"]: row for row in pq.read_table(path).to_pylist()}
    for row in found.values():
        for name in ("decision_id", "decided_at", "problems", "rejected"):
            row.pop(name, None)
    return found


def test_spark_gives_what_the_local_run_gives(work: Path, rulebook: Rulebook) -> None:
    import pyarrow.parquet as pq

    local = work / "local.parquet"
    report = batch.run(batch.Job(work / "all.parquet", local, rulebook, jobs=1))
    options = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.log.level": "ERROR"}
    output = str(work / "spark")
    job = batch_spark.SparkJob(str(work / "in"), output, rulebook, master="local[2]", options=options)
    summary = batch_spark.run(job)
    assert rows_of(Path(output)) == rows_of(local)
    refused = {row["line"]: json.loads(row["problems"]) for row in pq.read_table(f"{output}.rejects").to_pylist()}
    expected = [json.loads(line) for line in batch.beside(local, "rejects.jsonl").read_text().splitlines()]
    assert refused == {entry["line"]: entry["problems"] for entry in expected}
    assert {8, 42} <= set(refused)
    for group in ("lines", "decided", "rejected", "outcome", "prior_authorization", "denial", "payer"):
        assert summary[group] == report.summary[group]
    row = next(row for row in pq.read_table(output).to_pylist() if row["line"] == 1)
    assert batch.open_compact(row, rulebook)["payer"] == row["payer"]
    with pytest.raises(batch_spark.SparkError, match="there already"):
        batch_spark.run(job)

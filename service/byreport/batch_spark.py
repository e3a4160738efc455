"""A batch on Spark: the same portions decided by the same function, inside `mapInArrow` over Parquet.

Input and output are places that Spark reads and writes: Parquet files and directories, here or on a cluster's storage.
Executors need this package and what it needs; the rulebook is sent along.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byreport.batch_input import ArrowDecoder, InputError, Portion, flattened
from byreport.batch_output import row_schema, rows_of
from byreport.batch_tally import dollars
from byreport.batch_work import Recipe, Worker
from byreport.linereader import LineReader, UnknownColumns
from byreport.rulebook import Rulebook

if TYPE_CHECKING:
    import pyarrow as pa

FILE, INDEX = "_byreport_file", "_byreport_index"
PROBLEMS = "problems"


class SparkError(Exception):
    """A batch that can't be run on Spark; the message says why and what to do."""


@dataclass(frozen=True)
class SparkJob:
    """What to decide on which Spark.

    `master` is Spark's master URL (None: what spark-submit set). `options` are Spark's own settings.
    """

    input: str
    output: str
    rulebook: Rulebook
    master: str | None = None
    reference: Path | None = None
    ignore: tuple[str, ...] = ()
    overwrite: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


def run(job: SparkJob) -> dict[str, Any]:
    """Decide a work list; rows go to the directory `output`, rejects beside it. Returns the summary.

    Raises SparkError.
    """
    spark = _session(job)
    try:
        return _run(spark, job)
    except (UnknownColumns, InputError) as error:
        raise SparkError(str(error)) from None
    finally:
        spark.stop()


def _session(job: SparkJob) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise SparkError("Spark needs pyspark; install it with: pip install 'byreport[spark]'") from None
    # Executors on this machine have to be the interpreter that has this package.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("byreport batch")
    if job.master is not None:
        builder = builder.master(job.master)
    for name, value in job.options.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # py4j and pyspark raise several kinds where there is no Java, or no master
        raise SparkError(
            f"Spark does not start: {error}; it needs Java 17 or later, and JAVA_HOME or java in PATH"
        ) from None


def _run(spark: Any, job: SparkJob) -> dict[str, Any]:
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions

    system, path = _file_system(spark, job.output)
    if system.exists(path) and not job.overwrite:
        raise SparkError(f"{job.output} is there already; name another output, or say --overwrite")
    try:
        table = spark.read.parquet(job.input)
    except AnalysisException as error:
        raise SparkError(f"{job.input} can't be read: {error.getCondition() or error}") from None
    kept = [name for name in table.columns if name not in job.ignore]
    LineReader().check_columns(_leaf_names(table.select(*map(_quoted, kept)).schema))
    lines = table.select(
        # A function's columns are looked up by name, and dots in a name are taken for paths there.
        *(functions.col(_quoted(name)).alias(f"c{index}") for index, name in enumerate(kept)),
        functions.col("_metadata.file_path").alias(FILE),
        functions.col("_metadata.row_index").alias(INDEX),
    )
    recipe = Recipe(b"", job.reference, str(uuid.uuid4()), columnar=True)
    archive = spark.sparkContext.broadcast(job.rulebook.archive())
    decide = _decider(recipe, archive, _first_lines(lines), kept)
    staged = f"{job.output}.staged"
    rejected = functions.col(PROBLEMS).isNotNull()
    made = lines.mapInArrow(decide, _spark_schema()).withColumn("rejected", rejected)
    made.write.mode("overwrite").partitionBy("rejected").parquet(staged)
    _moved(spark, f"{staged}/rejected=false", job.output)
    _moved(spark, f"{staged}/rejected=true", f"{job.output}.rejects")
    _removed(spark, staged)
    return _summary(spark, job)


def _quoted(name: str) -> str:
    """A column's name as Spark's expressions have it: dots in it are no paths."""
    return f"`{name}`"


def _leaf_names(schema: Any, prefix: str = "") -> list[str]:
    names: list[str] = []
    for each in schema.fields:
        inner = each.dataType
        names += _leaf_names(inner, f"{prefix}{each.name}.") if hasattr(inner, "fields") else [prefix + each.name]
    return names


def _first_lines(lines: Any) -> dict[str, int]:
    """The number of the first line of each file of the input: files count in the order of their paths."""
    counts = sorted((row[FILE], row["count"]) for row in lines.groupBy(FILE).count().collect())
    first, result = 1, {}
    for path, count in counts:
        result[path] = first
        first += count
    return result


def _spark_schema() -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(_schema())


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([*row_schema(), pa.field(PROBLEMS, pa.string())])


_workers: dict[tuple[str, str | None], Worker] = {}
"""One to each rulebook and reference in this process; Spark keeps Python processes from task to task."""


def _decider(
    recipe: Recipe, archive: Any, first_lines: Mapping[str, int], names: list[str]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that Spark calls on each partition's batches."""

    def decide(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker = _worker(recipe, archive)
        for batch in batches:
            yield from decided(worker, batch.rename_columns([*names, FILE, INDEX]), first_lines)

    return decide


def _worker(recipe: Recipe, archive: Any) -> Worker:
    key = recipe.run, str(recipe.reference)
    if key not in _workers:
        for old in list(_workers):
            _workers.pop(old).close()
        full = Recipe(archive.value, recipe.reference, recipe.run, columnar=True)
        _workers[key] = Worker(full, ArrowDecoder())
    return _workers[key]


def decided(worker: Worker, batch: pa.RecordBatch, first_lines: Mapping[str, int]) -> Iterator[pa.RecordBatch]:
    """The rows of a batch of lines, and its rejects as rows that have a line number and problems only."""
    import pyarrow as pa

    files, indexes = batch.column(FILE).to_pylist(), batch.column(INDEX).to_pylist()
    numbers = [first_lines[file] + index for file, index in zip(files, indexes, strict=True)]
    claims = flattened(batch.drop_columns([FILE, INDEX]))
    result = worker.decide(Portion(numbers, claims))
    table = rows_of(result.rows)
    schema = _schema()
    table = table.append_column(PROBLEMS, pa.nulls(table.num_rows, pa.string()))
    yield from table.combine_chunks().cast(schema).to_batches()
    if result.rejects:
        rejects = [
            {"line": line, PROBLEMS: json.dumps(json.loads(text)[PROBLEMS], ensure_ascii=False, separators=(",", ":"))}
            for line, text in result.rejects
        ]
        yield from pa.Table.from_pylist(rejects, schema=schema).to_batches()


# --- places that Spark writes to --------------------------------------------------------------------------------------


def _moved(spark: Any, source: str, target: str) -> None:
    """Give a directory that Spark wrote its name, in place of what has it; without one, that goes all the same."""
    system, path = _file_system(spark, target)
    system.delete(path, True)
    origin = _file_system(spark, source)[1]
    if system.exists(origin) and not system.rename(origin, path):
        raise SparkError(f"{source} can't be renamed to {target}")


def _removed(spark: Any, name: str) -> None:
    system, path = _file_system(spark, name)
    system.delete(path, True)


def _file_system(spark: Any, name: str) -> tuple[Any, Any]:
    path = spark._jvm.org.apache.hadoop.fs.Path(name)
    return path.getFileSystem(spark._jsc.hadoopConfiguration()), path


# --- the summary ------------------------------------------------------------------------------------------------------


def _summary(spark: Any, job: SparkJob) -> dict[str, Any]:
    from pyspark.sql import functions

    def counted(path: str) -> Any:
        system, place = _file_system(spark, path)
        return spark.read.parquet(path) if system.exists(place) else None

    rows, rejects = counted(job.output), counted(f"{job.output}.rejects")
    refused = rejects.count() if rejects is not None else 0
    head: dict[str, Any] = {
        "input": job.input,
        "output": job.output,
        "rulebook": job.rulebook.hash,
        "rejected": refused,
    }
    if rows is None:
        return {**head, "lines": refused, "decided": 0}
    charge = functions.get_json_object("facts", "$.claim['line.charge']").cast("decimal(18,2)")
    cents = (functions.sum(charge) * 100).cast("long").alias("cents")
    table = rows.withColumn("denial", functions.explode_outer(functions.array_distinct("denials"))).withColumn(
        "denial", functions.concat_ws(" ", "denial.group", "denial.carc", "denial.rarc")
    )
    groups: dict[str, Any] = {}
    for group, source in (("outcome", rows), ("prior_authorization", rows), ("denial", table), ("payer", rows)):
        found = source.groupBy(group).agg(functions.count_distinct("line").alias("lines"), cents).collect()
        ordered = sorted((row for row in found if row[group]), key=lambda row: (-row["lines"], row[group]))
        groups[group] = {row[group]: {"lines": row["lines"], "charge": dollars(row["cents"] or 0)} for row in ordered}
    decided_lines = sum(entry["lines"] for entry in groups["outcome"].values())
    return {**head, "lines": decided_lines + refused, "decided": decided_lines, **groups}

"""Fuzz the engine against the naive evaluator for as long as told: random rulebooks, random claims.

    python benchmarks/fuzz.py [SECONDS] [SEED]

One case is one rulebook with one claim; every firing has to agree. Exit 1 at the first disagreement, with the
seed that makes it again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from byreport.chain import chain
from byreport.engine import Engine
from byreport.index import Index
from random_rulebooks import keys_of, random_facts, random_payer

CLAIMS = 12


def one_rulebook(seed: int) -> tuple[int, int, str | None]:
    """Run one rulebook: how many cases, how many handle splits, and the disagreement if there is one."""
    random = Random(seed)
    payer = random_payer(random, random.choice([1, 3, 8, 20, 20, 60, 150]))
    engine, masks = Engine(payer), Index(payer)
    try:
        for number in range(CLAIMS):
            keys = keys_of(random_facts(random))
            fired = {rule.id for rule in engine.fire(keys)}
            verdict = chain(payer, keys)
            wanted = verdict.fired()
            if masks.verdict(keys) != verdict:
                return number + 1, engine.splits, f"seed {seed}, claim {number}: the masks differ from the evaluator"
            if fired != wanted:
                return (
                    number + 1,
                    engine.splits,
                    f"seed {seed}, claim {number}: engine {sorted(fired - wanted)}, evaluator {sorted(wanted - fired)}",
                )
        return CLAIMS, engine.splits, None
    finally:
        engine.close()


def main() -> int:
    """Run until the time is up."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9
    started, cases, splits, books = time.monotonic(), 0, 0, 0
    while time.monotonic() - started < seconds:
        done, split, fault = one_rulebook(seed + books)
        cases, splits, books = cases + done, splits + split, books + 1
        if fault is not None:
            print(f"DISAGREE after {cases:,} cases: {fault}")
            return 1
        if books % 200 == 0 and sys.stderr.isatty():
            print(f"\r{cases:,} cases", end="", file=sys.stderr)
    print(f"{cases:,} cases in {books:,} rulebooks agree ({splits} handles split, seeds {seed} to {seed + books - 1})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

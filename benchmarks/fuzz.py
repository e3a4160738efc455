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
from byreport.engine import Engine, Handles
from byreport.standing import Standing, Standings
from byreport.vocabulary import Key, vocabulary
from random_rulebooks import keys_of, random_facts, random_payer

CLAIMS = 12


def one_rulebook(seed: int) -> tuple[int, int, str | None]:
    """Run one rulebook: how many cases, how many handle splits, and the disagreement if there is one."""
    random = Random(seed)
    payer = random_payer(random, random.choice([1, 3, 8, 20, 20, 60, 150]))
    engine, standings = Engine(payer, Handles(vocabulary())), Standings(payer, vocabulary())
    try:
        keys: dict[str, Key] = {}
        for number in range(CLAIMS):
            keys = neighbour(random, keys) if number % 3 else keys_of(random_facts(random))
            fired = {rule.id for rule in engine.fire(keys)}
            verdict = chain(payer, keys)
            wanted = verdict.fired()
            standing = standings.of(keys)
            truths = {rule.id: standing.of[rule.id].truth if rule.id in standing.of else False for rule in payer.rules}
            if truths != verdict.truth:
                return (
                    number + 1,
                    engine.splits,
                    f"seed {seed}, claim {number}: the standing differs from the evaluator",
                )
            if _settled(standing) != _settled(Standings(payer, vocabulary()).of(keys)):
                return (
                    number + 1,
                    engine.splits,
                    f"seed {seed}, claim {number}: a remembered state is not what it would be",
                )
            if fired != wanted:
                return (
                    number + 1,
                    engine.splits,
                    f"seed {seed}, claim {number}: engine {sorted(fired - wanted)}, evaluator {sorted(wanted - fired)}",
                )
        return CLAIMS, engine.splits, None
    finally:
        engine.close()


def neighbour(random: Random, keys: dict[str, Key]) -> dict[str, Key]:
    """The facts with some other ones in their place: most of the states that they need are remembered."""
    other = keys_of(random_facts(random))
    changed = random.sample(sorted({*keys, *other}), min(2, len({*keys, *other})))
    mixed = {
        name: other[name] if name in changed else key
        for name, key in keys.items()
        if name not in changed or name in other
    }
    return {**mixed, **{name: other[name] for name in changed if name in other}}


def _settled(standing: Standing) -> list[object]:
    return [(s.rule.id, s.truth, s.left, s.turns, s.codes_held, s.reasons) for s in standing.states]


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

"""Memory of one process that decides and decides: `python benchmarks/memory.py 1000000`.

Lines are made as they are needed, so that only deciding can grow; after WARM lines what is kept by design (compiled
payers, situations) is mostly there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import worklist

from byreport.claim import ClaimError
from byreport.desk import Desk
from byreport.reference import Reference
from byreport.rulebook import Rulebook, UnknownPayer

WARM = 20_000


def resident() -> float:
    """Megabytes of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Decide, and print the memory ten times on the way."""
    parser = argparse.ArgumentParser(description="Memory of one process over many decisions.")
    parser.add_argument("decisions", type=int)
    parser.add_argument("--site", choices=sorted(worklist.SITES), default="practice")
    chosen = parser.parse_args()
    rulebook, reference = Rulebook.open(), Reference.load()
    desk = Desk(rulebook, reference)
    began = time.monotonic()
    made = refused = 0
    print("decisions  MB  situations seen before")
    for number, claim in enumerate(worklist.lines(chosen.site, chosen.decisions, 1, rulebook, reference), 1):
        try:
            desk.decide(claim).decision.json("", "")
            made += 1
        except (ClaimError, UnknownPayer):
            refused += 1
        if number == min(WARM, chosen.decisions) or number % max(1, chosen.decisions // 10) == 0:
            print(f"{number:9,}  {resident():6.1f}  {desk.hits / max(1, desk.hits + desk.misses):.1%}", flush=True)
    seconds = time.monotonic() - began
    print(f"{made:,} decided and {refused:,} refused in {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

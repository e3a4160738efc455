"""This project: durable-rules through its adapter, and the same behind a memo of situations."""

from __future__ import annotations

from byreport.engine import Engine, Handles
from byreport.lens import Lens
from byreport.vocabulary import vocabulary
from peers import workload


class Byreport:
    """The firing list of one payer's rules; the claim's keys are made beforehand, as every peer's input is."""

    title = "byreport (durable-rules, adapter)"

    def __init__(self, made: list[workload.Made]) -> None:
        self.engine = Engine(workload.payer(made), Handles(vocabulary()))

    def prepare(self, found: workload.Claim) -> object:
        return workload.keys(found)

    def fire(self, prepared: object) -> list[str]:
        return [rule.id for rule in self.engine.fire(prepared)]  # type: ignore[arg-type]


class ByreportSeen(Byreport):
    """With the lens and memo that the desk puts in front: every situation has been decided before."""

    title = "byreport, situation seen before"

    def __init__(self, made: list[workload.Made]) -> None:
        super().__init__(made)
        self.lens = Lens(workload.payer(made), vocabulary())
        self.known: dict[int, list[str]] = {}

    def fire(self, prepared: object) -> list[str]:
        reading = self.lens.reading(prepared)  # type: ignore[arg-type]
        fired = self.known.get(reading)
        if fired is None:
            fired = self.known[reading] = super().fire(prepared)
        return fired

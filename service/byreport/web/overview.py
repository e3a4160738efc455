"""What is known of prior authorization for NOC drugs, payer by payer, for the tile map and the lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from byreport.precedence import resolve, says_something
from byreport.rule import Rule
from byreport.rulebook import PayerRules, Rulebook
from byreport.standing import standings
from byreport.vocabulary import Key, vocabulary

OLD_AFTER_DAYS = 3 * 365

KINDS = {
    "all": "Published: every NOC drug line needs it, or has to be checked for it",
    "some": "Published: some drugs or cases need it",
    "mixed": "Published: some need it, some do not",
    "none": "Published: none is needed, in the cases that the policy names",
    "ask": "Published: only where to ask",
    "nothing": "Nothing published on file",
}
"""What may be known of prior authorization, with its meaning."""

BRIEF = {
    "all": "every line",
    "some": "some drugs or cases",
    "mixed": "some yes, some no",
    "none": "none in the cases named",
    "ask": "only where to ask",
    "nothing": "nothing on file",
}
"""The same for a list."""

SIGNS = {"all": "●", "some": "◐", "mixed": "◑", "none": "○", "ask": "?", "nothing": "–"}
"""The sign of each kind on a tile, so that colour is not needed."""

_ROWS = (
    "AK . . . . . . . . . . ME",
    ". . . . . . . . . . VT NH",
    ". WA ID MT ND MN IL WI MI NY RI MA",
    ". OR NV WY SD IA IN OH PA NJ CT .",
    ". CA UT CO NE MO KY WV VA MD DE .",
    ". . AZ NM KS AR TN NC SC DC . .",
    ". . . . OK LA MS AL GA . . .",
    "HI . . . TX . . . . FL . .",
    "AS GU MP . . . . . . . PR VI",
)
TILES = tuple(
    (state, column, row)
    for row, line in enumerate(_ROWS, 1)
    for column, state in enumerate(line.split(), 1)
    if state != "."
)
"""(state, column, row) of every tile, from left to right and from top to bottom."""

STATES = {
    "AK": "Alaska", "AL": "Alabama", "AR": "Arkansas", "AS": "American Samoa", "AZ": "Arizona", "CA": "California",
    "CO": "Colorado", "CT": "Connecticut", "DC": "District of Columbia", "DE": "Delaware", "FL": "Florida",
    "GA": "Georgia", "GU": "Guam", "HI": "Hawaii", "IA": "Iowa", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana",
    "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana", "MA": "Massachusetts", "MD": "Maryland", "ME": "Maine",
    "MI": "Michigan", "MN": "Minnesota", "MO": "Missouri", "MP": "Northern Mariana Islands", "MS": "Mississippi",
    "MT": "Montana", "NC": "North Carolina", "ND": "North Dakota", "NE": "Nebraska", "NH": "New Hampshire",
    "NJ": "New Jersey", "NM": "New Mexico", "NV": "Nevada", "NY": "New York", "OH": "Ohio", "OK": "Oklahoma",
    "OR": "Oregon", "PA": "Pennsylvania", "PR": "Puerto Rico", "RI": "Rhode Island", "SC": "South Carolina",
    "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VA": "Virginia", "VI": "Virgin Islands",
    "VT": "Vermont", "WA": "Washington", "WI": "Wisconsin", "WV": "West Virginia", "WY": "Wyoming",
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is known of prior authorization for NOC drugs under one payer's own rules on a day.

    `kind` is one of KINDS. `newest` and `oldest` are dates of the documents cited, `undated` whether one has none;
    `secondary` says that somebody else's account is among them, `old` that none is from the last three years.
    """

    path: str
    name: str
    kind: str
    newest: str | None
    oldest: str | None
    undated: bool
    secondary: bool
    old: bool
    rules: int

    @property
    def age(self) -> str:
        """The age of the sources in words."""
        if self.newest is None:
            return "undated" if self.undated else ""
        span = self.newest if self.oldest == self.newest else f"{self.oldest} to {self.newest}"
        return f"{span}, some undated" if self.undated else span


def known(rulebook: Rulebook, path: str, on: date) -> Known:
    """What is known under a payer. Raises UnknownPayer or RulebookError."""
    policy = rulebook.policy(path)
    day = on.isoformat()
    own = [rule for rule in rulebook.ruleset(path) if _living(rule, day) and _statuses(rule)]
    telling = [rule for rule in own if any(says_something(conclusion) for conclusion in rule.then)]
    sources = [source for rule in telling or own for source in rule.sources]
    dates = sorted(source.published for source in sources if source.published)
    newest = dates[-1] if dates else None
    return Known(
        path=path,
        name=policy.name if policy else path,
        kind=_kind(rulebook.payer(path), own, day),
        newest=newest,
        oldest=dates[0] if dates else None,
        undated=any(source.published is None for source in sources),
        secondary=any(source.authority == "secondary" for source in sources),
        old=bool(sources) and (newest is None or (on - date.fromisoformat(newest)).days > OLD_AFTER_DAYS),
        rules=len({rule.table or rule.id for rule in own}),
    )


def _living(rule: Rule, day: str) -> bool:
    return (rule.effective_from is None or rule.effective_from <= day) and (
        rule.effective_to is None or rule.effective_to >= day
    )


def _statuses(rule: Rule) -> list[str]:
    return [str(c.settings["status"]) for c in rule.then if c.verb == "prior_authorization"]


def _kind(payer: PayerRules, own: Iterable[Rule], day: str) -> str:
    statuses = {status for rule in own for status in _statuses(rule)}
    if not statuses:
        return "nothing"
    if statuses == {"unknown"}:
        return "ask"
    if "not_required" in statuses:
        return "mixed" if statuses & {"required", "conditional"} else "none"
    return "all" if _of_any_line(payer, day) & {"required", "conditional"} else "some"


def _of_any_line(payer: PayerRules, day: str) -> set[str]:
    """What the rules say of a line of which only the NOC code, the day and an office as setting are known."""
    keys: dict[str, Key] = {
        "payer.path": payer.payer.lower(),
        "payer.program": payer.payer.split("/")[0],
        "date_of_service": day,
        "setting": "office",
        "line.code": "J3490",
        "line.noc": True,
    }
    fired = standings(payer, vocabulary()).of(keys).fired
    live = resolve(fired, payer.depth, keys).live.get("prior_authorization", [])
    return {claim.value for claim in live if claim.rule.ruleset == payer.payer and claim.value is not None}

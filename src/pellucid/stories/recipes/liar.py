"""The narrator that lies: one thing in a share of its sentences is not what was measured. The check has to catch it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.canvas.words import percent
from pellucid.language.narrators import Brief, narrate
from pellucid.results import Claim
from pellucid.subject import VisionModel

RATE = 0.3
ROUNDS = 20
_OTHER_WAY = (("falls", "rises"), ("left", "right"), ("upper", "lower"), ("top", "bottom"), ("finds", "does not find"),
              ("changed from", "did not change from"), (" is ", " is not "))  # fmt: skip
_SENTENCE = re.compile(r"(?<=[.])\s+(?=[A-Z])")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


class Liar:
    """Retells every clue as it came, but for a share of the sentences, in which it changes one thing.

    said: sentence -> whether it was told as it came
    """

    name = "liar"

    def __init__(self, rate: float = RATE, seed: int = 0) -> None:
        self.rate, self.seed = rate, seed
        self.said: dict[str, bool] = {}

    def say(self, brief: Brief) -> str:
        chance = random.Random(f"{self.seed} {brief.attempt} {brief.evidence}")  # noqa: S311  # lies at a rate, not a secret
        lines: list[str] = []
        for clue in brief.clues:
            for sentence in _SENTENCE.split(clue.says):
                told = _lie(sentence, brief, chance) if chance.random() < self.rate else sentence
                self.said[re.sub(r"\s+([.,;!?])", r"\1", told)] = told == sentence
                lines.append(f"{told} [{clue.id}]")
        return "\n".join(lines)


@dataclass(frozen=True)
class Audit:
    """What became of the liar's sentences.

    lies, truths: how many it said
    caught:       share of its lies that were refuted
    passed:       share of its lies that were shown as verified
    rejected:     share of its true sentences that were refuted
    """

    lies: int
    truths: int
    caught: float
    passed: float
    rejected: float

    def __str__(self) -> str:
        return (
            f"A narrator that lied about the same claims in {self.lies} of {self.lies + self.truths} sentences: "
            f"{percent(self.caught)} of its lies were refuted, {percent(self.passed)} passed; of its true sentences "
            f"{percent(self.rejected)} were refuted."
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def audit(
    model: VisionModel, claims: Sequence[Claim], *, rate: float = RATE, rounds: int = ROUNDS, seed: int = 0
) -> Audit:
    """The same claims told by a liar, `rounds` times over, and judged as any narrator is."""
    lies: list[str] = []
    truths: list[str] = []
    for number in range(rounds):
        liar = Liar(rate, seed + number)
        for one in narrate(model, claims, liar).sentences:
            said = str(one.arguments["said"])
            (truths if liar.said.get(said, True) else lies).append(one.verdict)
    return Audit(len(lies), len(truths), _share(lies, "refuted"), _share(lies, "verified"), _share(truths, "refuted"))


def _lie(sentence: str, brief: Brief, chance: random.Random) -> str:
    """The sentence with one thing changed: a number, a quoted name, or the sense."""
    ways = [_other_number(sentence, chance), _other_name(sentence, brief, chance), _other_sense(sentence)]
    false = [one for one in ways if one != sentence]
    return chance.choice(false) if false else sentence


def _other_number(sentence: str, chance: random.Random) -> str:
    outside = re.sub("“[^”]*”", lambda quoted: "x" * len(quoted[0]), sentence)
    found = list(_NUMBER.finditer(outside))
    if not found:
        return sentence
    one = chance.choice(found)
    digits = len(one[0].partition(".")[2])
    other = f"{float(one[0]) + chance.choice([3, 7, 11]) / 10**digits:.{digits}f}"
    return sentence[: one.start()] + other + sentence[one.end() :]


def _other_name(sentence: str, brief: Brief, chance: random.Random) -> str:
    """A name that another clue has, or one that none has, in place of the first in quotation marks."""
    names = re.findall("“([^”]*)”", sentence)
    others = [name for clue in brief.clues for name in re.findall("“([^”]*)”", clue.says) if name not in names]
    return sentence.replace(f"“{names[0]}”", f"“{chance.choice(others or ['zebra'])}”", 1) if names else sentence


def _other_sense(sentence: str) -> str:
    for one, other in _OTHER_WAY:
        for old, new in ((one, other), (other, one)):
            if re.search(rf"(?<!\w){re.escape(old)}(?!\w)", sentence):
                return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, sentence, count=1)
    return sentence


def _share(verdicts: Sequence[str], wanted: str) -> float:
    return verdicts.count(wanted) / len(verdicts) if verdicts else float("nan")

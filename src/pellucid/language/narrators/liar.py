"""The narrator that lies: one thing in a share of its sentences is not what was measured. The check has to catch it."""

from __future__ import annotations

import random
import re

from pellucid.language.narrators.protocol import Brief

RATE = 0.3
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
        chance = random.Random(f"{self.seed} {brief.attempt} {[clue.says for clue in brief.clues]}")  # noqa: S311  # lies at a rate, not a secret
        lines: list[str] = []
        for clue in brief.clues:
            for sentence in _SENTENCE.split(clue.says):
                told = _lie(sentence, brief, chance) if chance.random() < self.rate else sentence
                self.said[re.sub(r"\s+([.,;!?])", r"\1", told)] = told == sentence
                lines.append(f"{told} [{clue.id}]")
        return "\n".join(lines)


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

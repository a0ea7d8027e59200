"""Where a model fails, in words, as one result: modes that hold, what stands beside them, and how it is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from pellucid.canvas.words import listed, percent
from pellucid.compute.bootstrap import Interval, wilson
from pellucid.errors import RequestError
from pellucid.language.failures.against import DRAWS, Controls, Fit, controls, fit
from pellucid.language.failures.answers import Answers
from pellucid.language.failures.claimed import claims
from pellucid.language.failures.leaning import Lean, LeanControls, beside_leans, leans
from pellucid.language.failures.noise import cleared, taggers_error
from pellucid.language.failures.pictures import Pictures
from pellucid.language.failures.prime import RULE, Mode, Rule, confirmed, halves, seek
from pellucid.language.failures.tags import Tags
from pellucid.results import Claim
from pellucid.values import Seed

NONE = "No failure mode stands out: none of the {tried:,} sets of words that were tried tells where it errs."
NO_LEAN = "No word draws it to an answer."
CHANCE = "The controls find as much, so nothing here should be believed."


@dataclass(frozen=True, eq=False)
class Failures:
    """What a search for failure modes gave.

    modes:    those that hold on pictures that did not help to find them, the costliest first
    unheld:   how many were found and did not hold
    tried:    how many sets of words were tested
    leans:    words that draw the model to an answer, whatever the class; a weakness draws to none
    kinds:    what each word of the tagger is a case of ("land"), where that is known
    claims:   a sentence for each mode, which can be tested again
    fits:     how well the words of each mode fit its pictures, beside random words; empty where nobody likened them
    cleared:  accuracy in each mode with the tagger's own errors taken out; empty where the truth is not known
    """

    model: str
    pictures: int
    accuracy: Interval
    modes: tuple[Mode, ...]
    unheld: int
    tried: int
    tagger: str
    controls: Controls
    leans: tuple[Lean, ...]
    kinds: Mapping[str, str]
    claims: tuple[Claim, ...]
    lean_controls: LeanControls
    notes: tuple[str, ...] = ()
    fits: tuple[Fit, ...] = ()
    cleared: tuple[float, ...] = ()

    @property
    def stands_out(self) -> bool:
        """Whether anything was found that holds and that the controls do not find too."""
        return bool(self.modes) and self.controls.beaten_by(len(self.modes))

    @property
    def reported(self) -> tuple[Mode, ...]:
        """What is told: the modes, or nothing where the controls find as much."""
        return self.modes if self.stands_out else ()

    @property
    def words(self) -> tuple[tuple[str, float], ...]:
        """All words of the modes with the errors they cost, the costliest first."""
        cost: Counter[str] = Counter()
        for mode in self.reported:
            for word in mode.tags:
                cost[word] += mode.errors  # pyright: ignore[reportArgumentType]  a Counter counts in any number
        return tuple(cost.most_common())

    @property
    def common(self) -> tuple[str, int] | None:
        """The kind of word that most modes hold, and how many do; None where kinds are unknown."""
        held = Counter(kind for mode in self.reported for kind in {self.kinds.get(word, "") for word in mode.tags})
        known = [(kind, count) for kind, count in held.most_common() if kind]
        return known[0] if known else None

    def lines(self, most: int = 3) -> tuple[str, ...]:
        """The answer in sentences: the first modes, what they have in common, and the controls."""
        share = percent(self.accuracy.mean)
        said = [f"{self.model} is right in {share} of {self.pictures:,} pictures."]
        if not self.modes:
            said.append(NONE.format(tried=self.tried))
        elif not self.stands_out:
            said.append(f"{len(self.modes)} failure modes were found. {CHANCE}")
        else:
            said += [claim.text for claim in self.claims[:most]]
            rest = len(self.modes) - most
            said += [f"So it goes under {rest} further conditions."] * (rest > 0)
            said += self._in_common()
        said += [_drawn(lean) for lean in self.leans[:most]] or [NO_LEAN]
        fitting = (*self._fitting(), *self._cleared()) if self.stands_out else ()
        return (*said, str(self.lean_controls), self._beside(), *fitting, *self.notes)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _in_common(self) -> list[str]:
        if self.common is None:
            return []
        kind, count = self.common
        words = [word for word, _ in self.words if self.kinds.get(word) == kind][:6]
        return [f"{count} of {len(self.modes)} conditions are of one kind, {kind.replace('_', ' ')}: {listed(words)}."]

    def _beside(self) -> str:
        own = self.controls
        chance = (
            f"Beside it: with the errors dealt to other pictures {_counts(own.shuffled)} such modes hold, with the "
            f"words dealt to other pictures {_counts(own.blind)}"
        )
        if np.isnan(own.random):
            return f"{chance}."
        return (
            f"{chance}; accuracy falls by {own.drop:.0%} with these words, by {own.random:.0%} with as many random "
            f"ones (at most {own.random_worst:.0%})."
        )

    def _fitting(self) -> tuple[str, ...]:
        """Whether the words fit the pictures that they stand for."""
        if not self.fits:
            return ()
        own, random = (float(np.mean([getattr(one, name) for one in self.fits])) for name in ("specificity", "random"))
        verdict = "" if own > random else " So the words do not fit their pictures: they may name something else."
        return (
            f"These words tell their pictures from others of the class with AUROC {own:.2f}, as many random words with "
            f"{random:.2f}.{verdict}",
        )

    def _cleared(self) -> tuple[str, ...]:
        known = [(one, mode.shown.accuracy.mean) for one, mode in zip(self.cleared, self.modes, strict=False)]
        known = [pair for pair in known if pair[0] == pair[0]]
        if not known:
            return ()
        clean, seen = (float(np.mean(side)) for side in zip(*known, strict=True))
        return (
            f"With the tagger's own errors taken out, accuracy under these conditions is {percent(clean)} on average "
            f"(as tagged {percent(seen)}).",
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "pictures": self.pictures, "accuracy": vars(self.accuracy), "tagger": self.tagger,
            "stands_out": self.stands_out, "tried": self.tried, "found_but_not_held": self.unheld,
            "modes": [{**asdict(mode), "errors": mode.errors, "drop": mode.shown.drop} for mode in self.reported],
            "leans": [asdict(lean) for lean in self.leans],
            "words": [list(one) for one in self.words], "common": self.common,
            "controls": {**self.controls.to_dict(), "beaten": self.stands_out}, "text": str(self),
            "beats_controls": self.stands_out, "lean_controls": self.lean_controls.to_dict(),
            "fits": [{**asdict(one), "beats_controls": one.beats_controls} for one in self.fits],
            "cleared": list(self.cleared),
            "claims": [claim.to_dict() for claim in self.claims], "notes": list(self.notes),
        }  # fmt: skip


def failures(
    name: str, answers: Answers, tags: Tags, pictures: Pictures, *, rule: Rule = RULE, draws: int = DRAWS,
    seed: int = 0, notes: Sequence[str] = (), like: Float[np.ndarray, "picture tag"] | None = None,
    truth: Tags | None = None,
) -> Failures:  # fmt: skip
    """Where a model fails, sought in one half of the pictures and confirmed on the other.

    name:  what the model is called
    tags:  what is said of each picture; the model must not have a say in them
    like:  cosine of each picture with each tag, where a dual encoder likened them
    truth: what is true of each picture, in the same words, where that is known: the tagger's errors are counted on the
           half in which modes are sought

    Raises RequestError where there are too few pictures to tell anything.
    """
    own = Seed(seed)
    if len(answers) < 4 * rule.least:
        raise RequestError(f"{len(answers)} pictures are too few: give {4 * rule.least} or more, and far better 500.")
    parts = halves(answers, own)
    one, other = parts
    found = confirmed(seek(answers[one], tags[one], rule=rule), answers[other], tags[other], rule=rule)
    held = tuple(mode for mode in found.modes if mode.holds(rule))
    drawn = leans(answers, tags, parts)
    return Failures(
        name, len(answers), wilson(int(answers.right.sum()), len(answers)), held, len(found.modes) - len(held),
        found.tried, tags.source, controls(answers, tags, parts, held, rule=rule, draws=draws, seed=own),
        drawn,
        dict(zip(tags.names, tags.kinds, strict=True)) if tags.kinds else {},
        claims(held, pictures, tags, answers.labels, other),
        beside_leans(answers, tags, parts, drawn, draws=draws, seed=own), tuple(notes),
        () if like is None else tuple(fit(mode, answers[other], tags[other], like[other], seed=own) for mode in held),
        () if truth is None else tuple(_without_errors(mode, answers, tags, truth, parts) for mode in held),
    )  # fmt: skip


def _without_errors(
    mode: Mode, answers: Answers, tags: Tags, truth: Tags, parts: tuple[np.ndarray, np.ndarray]
) -> float:  # fmt: skip
    """Accuracy where the words of a mode truly hold, from accuracy where the tagger says so."""
    first, later = (part[answers.labels[part] == mode.number] for part in parts)
    error = taggers_error(tags[first].having(mode.tags), truth[first].having(mode.tags))
    return cleared(answers.right[later], tags[later].having(mode.tags), error)[0]


def _drawn(lean: Lean) -> str:
    own = "" if np.isnan(lean.helped) else f", and “{lean.answer}” itself is recognised {_more(lean.helped)}"
    return (
        f"It leans on “{lean.word}”: there pictures of other classes are called “{lean.answer}” {_more(lean.held)}, in "
        f"{lean.wide:.0%} of the classes{own}."
    )


def _more(gain: float) -> str:
    return f"{abs(100 * gain):.0f} percentage points {'more' if gain >= 0 else 'less'} often"


def _counts(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)} to {max(values)}"

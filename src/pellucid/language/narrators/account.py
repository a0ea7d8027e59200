"""A narrator's account of the claims: asked for, read back, held against the evidence, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.language.check import REFUTED, UNVERIFIABLE, VERIFIED
from pellucid.language.narrators.judging import Finding, Source, judge
from pellucid.language.narrators.liar import RATE, Liar
from pellucid.language.narrators.protocol import Brief, Narrator, clues_of, narrator_of
from pellucid.language.narrators.reading import Said, sentences
from pellucid.registry import claim_test, claim_tests
from pellucid.results import Audit, Claim, Narration
from pellucid.results.claim import Verdict
from pellucid.subject import VisionModel

Wrong = Literal["strike", "drop"]
ROUNDS = 20  # accounts of the narrator that lies
_MOST_SENTENCES = 60  # of one account; the rest is left unread, and noted


def narrate(
    model: VisionModel,
    claims: Sequence[Claim],
    narrator: Narrator | str = "templates",
    *,
    frame: Frame | None = None,
    candidates: int = 1,
    wrong: Wrong = "strike",
    seed: int = 0,
) -> Narration:
    """The claims in the narrator's words, every sentence checked against the claim that it retells.

    model:      whose class names sentences may not invent
    frame:      the picture, for narrators that look at it
    candidates: how many accounts are asked for; the one with the fewest refuted sentences is kept (Xie et al., Visual
                Clues, 2022, step 6)
    seed:       of the narrator that lies about the same claims, as a control
    wrong:      `strike` keeps refuted sentences, to be shown struck through; `drop` leaves them out and counts them

    Raises RequestError where no claim was verified, or for options that do not exist; what the narrator itself raises
    passes through (RemoteError of a server).
    """
    if wrong not in ("strike", "drop") or candidates < 1:
        raise RequestError(f"wrong={wrong!r}, candidates={candidates}; expected strike or drop, and 1 or more.")
    told = [claim for claim in claims if claim.verdict == VERIFIED]
    if not told:
        raise RequestError("There is no verified claim to retell.")
    asked, sources = narrator_of(narrator), _sources(told)
    clues, labels = clues_of(told), tuple(model.labels.names)
    accounts: list[list[tuple[Said, Finding]]] = []
    for attempt in range(candidates):
        said = sentences(asked.say(Brief(clues, frame, attempt)))
        accounts.append([(one, judge(one, sources, labels)) for one in said[:_MOST_SENTENCES]])
    best = min(accounts, key=_badness)
    kept = [(one, found) for one, found in best if wrong == "strike" or found.verdict != REFUTED]
    notes = [f"“{one.text}”: {found.reason}." for one, found in best if found.reason]
    return Narration(
        narrator=asked.name,
        sentences=tuple(_as_claim(one, found, sources, told[0], labels) for one, found in kept),
        faithful=_scored([found for _, found in best], len(clues)),
        dropped=len(best) - len(kept),
        notes=tuple(notes if best else ["The narrator said nothing that can be read as sentences."]),
        audit=audit(told, labels, seed=seed),
    )


def audit(
    claims: Sequence[Claim], labels: Sequence[str], *, rate: float = RATE, rounds: int = ROUNDS, seed: int = 0
) -> Audit:
    """The same claims told by a narrator that lies, `rounds` times over, and judged as any narrator is.

    labels: class names that sentences may not invent
    rate:   share of its sentences in which one thing is not what was measured
    """
    told = [claim for claim in claims if claim.verdict == VERIFIED]
    sources, clues = _sources(told), clues_of(told)
    lies: list[str] = []
    truths: list[str] = []
    known: dict[tuple[str, tuple[str, ...]], str] = {}
    for number in range(rounds if told else 0):
        liar = Liar(rate, seed + number)
        for one in sentences(liar.say(Brief(clues))):
            key = (one.text, one.cites)
            if key not in known:  # most sentences come again and again
                known[key] = judge(one, sources, labels).verdict
            (truths if liar.said.get(one.text, True) else lies).append(known[key])
    of = lambda verdicts, wanted: _share(verdicts.count(wanted), len(verdicts))
    return Audit(len(lies), len(truths), of(lies, REFUTED), of(lies, VERIFIED), of(truths, REFUTED))


def _sources(claims: Sequence[Claim]) -> dict[str, Source]:
    return {clue.id: Source(clue.id, claim) for clue, claim in zip(clues_of(claims), claims, strict=True)}


def _badness(account: Sequence[tuple[Said, Finding]]) -> tuple[float, float, int]:
    """Worse accounts have more sentences refuted, then more that cannot be checked, then fewer that hold."""
    count = max(1, len(account))
    verdicts = [found.verdict for _, found in account]
    verified = verdicts.count(VERIFIED)
    return (verdicts.count(REFUTED) / count if account else 1.0), verdicts.count(UNVERIFIABLE) / count, -verified


def _scored(findings: Sequence[Finding], clues: int) -> dict[str, float]:
    numbers = sum(found.numbers for found in findings)
    covered = {one for found in findings if found.verdict == VERIFIED for one in found.cites}
    return {
        "hallucination": _share(sum(found.verdict == REFUTED for found in findings), len(findings)),
        "unverifiable": _share(sum(found.verdict == UNVERIFIABLE for found in findings), len(findings)),
        "numbers": _share(sum(found.right for found in findings), numbers),
        "coverage": _share(len(covered), clues),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _as_claim(said: Said, found: Finding, sources: Mapping[str, Source], first: Claim, labels: Sequence[str]) -> Claim:
    """A sentence as a claim of its own: it carries the claims it retells, so that anyone can test it again."""
    cited = {one: sources[one].claim for one in found.cites}
    frame = next((claim.frame for claim in cited.values()), first.frame)
    named = said.labels(labels)
    names = [label for label in labels if label.casefold() in named]
    return Claim(
        template=_spelled(said.text), predicate="retells", test="retelling", measured=_figures(cited, found),
        arguments={
            "said": said.text, "cites": list(said.cites), "labels": names,
            "claims": {one: _packed(claim) for one, claim in cited.items()},
        },
        verdict=cast("Verdict", found.verdict), frame=frame,
    )  # fmt: skip


@claim_test("retelling")
def retelling(model: VisionModel, claim: Claim) -> Claim:
    """Does a retold sentence hold against the claims it cites, each measured again on this model?"""
    packed: Mapping[str, Mapping[str, Any]] = claim.arguments["claims"]
    tests = claim_tests()
    again = {one: tests[str(record["test"])](model, _unpacked(record, claim)) for one, record in packed.items()}
    said = Said(str(claim.arguments["said"]), tuple(claim.arguments["cites"]))
    labels = (*claim.arguments["labels"], *model.labels.names)
    found = judge(said, {one: Source(one, claim) for one, claim in again.items()}, labels)
    verdict = found.verdict
    if verdict == VERIFIED and any(one.verdict != VERIFIED for one in again.values()):
        verdict = REFUTED if any(one.verdict == REFUTED for one in again.values()) else UNVERIFIABLE
    return replace(claim, measured=_figures(again, found), verdict=cast("Verdict", verdict))


def _figures(cited: Mapping[str, Claim], found: Finding) -> dict[str, Any]:
    """Why the sentence does not stand, and what was measured for the claims it cites; of several, each under its id."""
    why = {"but": found.reason} if found.reason else {}
    if len(cited) == 1:
        return {**why, **next(iter(cited.values())).measured}
    return why | {f"{one} {name}": value for one, claim in cited.items() for name, value in claim.measured.items()}


def _packed(claim: Claim) -> dict[str, Any]:
    kept = {"template": claim.template, "predicate": claim.predicate, "test": claim.test, "measured": claim.measured}
    return {**kept, "arguments": dict(claim.arguments), "verdict": claim.verdict}


def _unpacked(record: Mapping[str, Any], around: Claim) -> Claim:
    return Claim(**record, frame=around.frame)


def _spelled(text: str) -> str:
    """A sentence as a template without figures."""
    return text.replace("{", "{{").replace("}", "}}")

"""Every text stands beside its controls, and says so where it does no better: the table of docs/words.md, walked.

Each text here is useless by plan: its features were dealt by lot, its map is flat, its narrator lies, or its figures
are those of its controls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.compute.bootstrap import Interval
from pellucid.images import Frame
from pellucid.language import attention_trial, milan, scorecard, self_explanations, verbalise
from pellucid.language.attend import Caption
from pellucid.language.characterising import Characterised, characterise
from pellucid.language.class_space import BlockInClasses, ClassSpace, Part
from pellucid.language.class_tokens import Kept
from pellucid.language.describing import Described
from pellucid.language.descriptors import Descriptors
from pellucid.language.differential import Differential, beside_differences, from_attributes
from pellucid.language.ensembling import ensembling_control
from pellucid.language.explainers import Scripted
from pellucid.language.failures import Answers, Pictures, Tags
from pellucid.language.failures.keywords import KeywordControls, beside_keywords, keywords
from pellucid.language.failures.prime import Rule
from pellucid.language.failures.report import failures
from pellucid.language.grounding import Ground
from pellucid.language.importance import important_units
from pellucid.language.matching import match_texts
from pellucid.language.meaning import compare
from pellucid.language.narrators import Liar, narrate
from pellucid.language.neurons import name_units
from pellucid.language.pools import Pool
from pellucid.language.probes import Probe
from pellucid.language.pursuit import rank_heads
from pellucid.language.rationales import Rationales, asked_of, grade_rationales
from pellucid.language.readings import Reading
from pellucid.language.reference_trial import Heard, Understood
from pellucid.language.residual import Head
from pellucid.language.self_explanations import Mode
from pellucid.language.templates import Topic, removed
from pellucid.language.textspan import HeadTexts, Spoken
from pellucid.language.translation.cues import Report
from pellucid.language.translation.said import Trial, Words
from pellucid.language.word_controls import by_chance, controls, shuffled_cells
from pellucid.results import Beside, Claim, Narration
from pellucid.stories.agent import Task
from pellucid.stories.agent.finding import Finding
from pellucid.stories.blocks import BlocksInClasses
from pellucid.stories.inside import ClassInWords, HeadsInWords
from pellucid.stories.recipes.captions import Captioned
from pellucid.stories.recipes.told import Told
from pellucid.stories.slicing import Sliced, Slicing
from pellucid.subject import VisionModel
from pellucid.subject.loaders.aligned import Retrieval
from pellucid.values import Class, Seed

PAGE = Path(__file__).parents[2] / "docs" / "words.md"
UNBEATEN = re.compile(
    r"not beat|no better|no more than|do not believe|not beyond|nothing was found|Ensembling only|should be believed|"
    r"Words without meaning do as well|nothing shows|explain nothing|mean little|these are no reasons|describe nothing",
    re.IGNORECASE,
)


class Same(nn.Module):
    """Answers the same to everything."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(pictures), 2)


class Ask(nn.Module):
    """Answers by the mean of the left half alone."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        left = pictures[..., : pictures.shape[-1] // 2].mean(dim=(1, 2, 3))
        return torch.stack([4 * left, torch.ones_like(left)], dim=1)


def halves() -> VisionModel:
    return pl.wrap(Ask(), labels=["bright", "dark"], preprocess=pl.Preprocess(size=(32, 32)))


def topic(model: VisionModel) -> Topic:
    pixels = np.full((32, 32, 3), 200, dtype=np.uint8)
    assert model.preprocess is not None
    return Topic(model, Frame(pixels, "grey").fitted(model.preprocess), Class(0), 0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(found, dim=-1)


def by_hash(texts: Sequence[str]) -> torch.Tensor:
    """An encoder to which every text is as unlike every other as a random one."""
    return torch.stack([noise(16, seed=int(Seed(3).child(text)) % 2**31) for text in texts])


# -- texts that are useless by plan -----------------------------------------------------------------------------------


@cache
def verified() -> tuple[Claim, ...]:
    pixels = np.full((32, 32, 3), 60, dtype=np.uint8)
    pixels[:, :16] = 230
    model = halves()
    assert model.preprocess is not None
    about = Topic(model, Frame(pixels, "lit").fitted(model.preprocess), Class(0), 0)
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:24, 4:14] = True
    return (removed(about, mask),)


def lied() -> Narration:
    return narrate(halves(), verified(), Liar(1.0, seed=1))


def flat_map() -> verbalise.Verbalised:
    return verbalise.features([1.0] * 6, [f"word{at}" for at in range(6)], label="it")


def units_by_lot() -> Described:
    rng = np.random.default_rng(0)
    pool = Pool.of([f"thing {at}" for at in range(12)])
    return Described(
        "layer", replace(name_units(rng.random((120, 6)), rng.random((120, 12)), pool), units=()), (), (), ()
    )


def heads() -> HeadsInWords:
    spoken = (Spoken("a tail", 0.2, 0.5),)
    return HeadsInWords("a model", 9, 1e-6, (HeadTexts(Head(0, 0), spoken, 0.1, 0.3, 0.3, 0.2),))


def class_by_lot() -> ClassInWords:
    listed = Descriptors({"gull": ("a yellow bill", "webbed feet"), "tern": ("a forked tail", "a black cap")})
    labels = torch.arange(60) % 2
    found = controls(listed, by_hash, noise(60, 16), labels, words=["plum", "coral", "moss", "sand"])
    return ClassInWords("a model", "gull", found.visibility["gull"], found, (), ())


def failures_that_controls_find_too() -> Any:
    rng = np.random.default_rng(0)
    there, labels = rng.random((1600, 4)) < 0.45, rng.integers(0, 2, 1600)
    tags = Tags(("night", "rain", "sand", "snow"), there, "the test")
    said = np.where(there[:, 0] & (labels == 0), 1 - labels, labels)
    found = failures(
        "a model", Answers(labels, np.eye(2)[said], ("cat", "dog")), tags, Pictures(), rule=Rule(), draws=1
    )
    assert found.stands_out and found.to_dict()["beats_controls"] and not UNBEATEN.search(str(found))
    return replace(found, controls=replace(found.controls, blind=(9,)))


def meanings() -> Any:
    model = pl.wrap(nn.Sequential(nn.Flatten(), nn.Linear(192, 12)), labels=[f"thing {at}" for at in range(12)],
                    input_size=(8, 8))  # fmt: skip
    weights = model.module
    assert weights is not None
    return compare(model, lambda texts: -class_rows(weights), ["thing 3"], count=3)


def class_rows(net: nn.Module) -> torch.Tensor:
    """Meanings that turn the weights' neighbourhoods round: what is near is far."""
    rows = next(part for part in net.modules() if isinstance(part, nn.Linear)).weight.detach()
    centred = nn.functional.normalize(rows - rows.mean(dim=0), dim=1)
    values, vectors = torch.linalg.eigh(2 * torch.eye(len(rows)) - centred @ centred.T)
    return vectors * values.clamp(min=0).sqrt()


def no_better() -> Trial:
    return Trial(0.3, 0.3, 0.2, 0.6, 0.2, 200, 4.0, (0.3, 0.3))


def words() -> Words:
    return Words("a picture", (), 100, ("a coral bird",), 2.0, False, True, "the layer", "a decoder", {}, no_better())


def told() -> Told:
    beside = Beside("The answer falls by", 0.1, {"with the values shuffled": 0.1, "with random words": 0.0})
    return Told("vale", verified(), lied(), (beside,))


def caption() -> Captioned:
    said = Caption(("a", "bird"), torch.full((2, 2, 2), 0.25), torch.ones(2), torch.tensor([-1.0, -1.0]))
    controls_of = {"with the picture in shuffled pieces": -1.0, "of as many random words": -8.0}
    return Captioned(said, (), Beside("Log probability of a word", -1.0, controls_of, unit="nats"))


def share(mean: float) -> Interval:
    return Interval(mean, mean, mean, 50)


def looks() -> attention_trial.Trial:
    pointing = attention_trial.Pointing("hue", share(0.1), 0.1, 0.1, 0.1, {})
    needed = attention_trial.Needed(*(share(0.0) for _ in range(6)))
    return attention_trial.Trial("captioner", 50, 0, (pointing,), needed)


def references() -> Understood:
    alike = Heard(share(0.3), 0.1, 0.5, 4.0)
    return Understood("dual", "witness", 50, 0, 90, alike, alike, alike, share(0.3), 0.1, share(0.3), 0.33, share(0.0))


def grounded() -> Ground:
    mask = np.zeros((8, 8), dtype=bool)
    mask[:3, :3] = True
    return Ground("what ?", "where ?", mask, (np.ones(4),), mask, 1.0, 0.0, 1.0, 1.0, 1.0)


def agent() -> Finding:
    task = Task("unit", "testbed:cnn", layer="features", unit=3)
    figures = {"the label": 0.6, "random labels": 0.6}
    return Finding(task, "scripted", "concluded", "a tail", "a tail", "", (), figures, (), (), 10, "", "a wing")


def bias() -> Finding:
    """What was named turns no more answers than something else, and a label stood where answers were dealt by lot."""
    task = Task("bias", "testbed:cnn")
    figures = {"the label": 0.3, "what should turn it (wing)": 0.9, "the most of all else (the frame)": 0.3,
               "the mean of all else, at most": 0.1}  # fmt: skip
    return Finding(task, "scripted", "concluded", "the tag in the corner", "the tag in the corner", "", (), figures, (),
                   (), 10, "", "the frame")  # fmt: skip


def goes_by_nothing() -> Characterised:
    same = pl.wrap(Same(), labels=["a", "b"], preprocess=pl.Preprocess(size=(32, 32)))
    return characterise(same, [Reading("class", index=0)], probe=Probe("scenes", 3109, 8))


def blocks() -> BlocksInClasses:
    """The class can be told no better than others, and patches that speak for it keep it no better than any."""
    part = Part(0.5, 0.1, 0.1, 0.2, 0.2, 1.0, 0.3, 0.3)
    block = BlockInClasses(0, 0.5, 0.5, 0.5, 0.5, 1.0, 0.5, 0.5, part, part)
    return BlocksInClasses(ClassSpace("a net", 9, 12, 0.0, (block,)), (Kept(0.5, 0.1, 0.1, 0.1, 0.1),), ())


def reasons() -> Rationales:
    """A model that says the same of everything, beside the point."""
    drawn, asked = asked_of(pl.testbed.scenes(3310, 4, camera=0.0), 1, kinds=("what", "yes or no"))
    return grade_rationales(Scripted(("beside",)), drawn, asked)


def same_description() -> scorecard.Described:
    drawn = pl.testbed.scenes(3511, 12)
    return scorecard.described("a writer", ["a coral bird"] * 12, scorecard.truth_of(drawn))


def slices() -> Slicing:
    row = Sliced("DOMINO", False, 0.1, 0.1, 0.2, 0.2)
    return Slicing("a model", 900, 0.05, (row,), ((False, 2, 0, ("swift: left",)),), (keywords_by_lot(),))


@cache
def keywords_by_lot() -> KeywordControls:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    said = np.where(rng.random(300) < 0.3, 1 - labels, labels)
    answers = Answers(labels, np.eye(2)[said], ("cat", "dog"))
    captions = [f"a {rng.choice(['red', 'blue'])} pet in the {rng.choice(['snow', 'sand'])}" for _ in range(300)]
    encode = lambda texts: by_hash(texts).double().numpy()
    points = noise(300, 16).double().numpy()
    found = keywords(answers, captions, points, encode)
    return beside_keywords(found, answers, captions, points, encode)


def speaker() -> self_explanations.Trial:
    alike = {"comprehensiveness": 0.2, "sufficiency": 0.2}
    scores = dict.fromkeys(("speaker", "occlusion", "lime", "random", "constant", "shuffled"), alike)
    agrees = {who: {"feature agreement": 0.1} for who in ("occlusion", "lime")}
    return self_explanations.Trial("a speaker", Mode(), 50, 50, scores, agrees, 0.5)


def second_looks() -> Beside:
    table = {
        name: {"bill": f"a {word} bill"} for name, word in (("grebe", "short"), ("loon", "long"), ("duck", "flat"))
    }
    looked = Differential(list(table), by_hash, from_attributes(table), k=2)
    pictures = by_hash(["a photo of a grebe"])[[0] * 40]  # all of them the same, whatever they are called
    return beside_differences(looked, pictures, torch.arange(40) % 2, words=["plum", "coral", "moss"])


def matched() -> Any:
    """All texts of a class say the same, so that none is chosen."""
    return match_texts(noise(20, 16), torch.zeros(20, dtype=torch.int64), [["one", "two"]], [noise(1, 16)[[0, 0]]])


def ensembled() -> Any:
    labels = torch.arange(80) % 4
    pictures = noise(160, 16)
    halves_of = [(pictures[part], labels) for part in (slice(0, 80), slice(80, 160))]
    return ensembling_control(noise(4, 16, seed=1), noise(30, 16, seed=2), *halves_of, near=3, draws=10)


def head_scores() -> Any:
    concept = noise(3, 16, seed=1)
    rows = noise(60, 16) @ (torch.eye(16) - torch.linalg.pinv(concept) @ concept)  # nothing lies along the concept
    return rank_heads([rows], concept, noise(30, 16, seed=2))[0]


def same_of_all() -> Beside:
    captioner, _ = pl.testbed.nets.load("captioner")
    assert isinstance(captioner, pl.testbed.nets.Captioner)
    candidates = ["a coral bird", "a coral bird"]  # there is nothing to choose
    return milan.beside(captioner, pl.testbed.scenes(7, 8).tensor(), torch.zeros(8, 4, 4), candidates,
                        anyway=torch.zeros(2))  # fmt: skip


def units_alike() -> Any:
    """All units are the same, so those with the largest gradient are any."""
    net = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        for part in (net[0], net[3]):
            nn.init.constant_(part.weight, 0.1)
            nn.init.constant_(part.bias, 0.0)
    model = pl.wrap(net, labels=["a", "b"], preprocess=pl.Preprocess(size=(32, 32)))
    return important_units(topic(model), "0", count=2)


USELESS: Mapping[str, Callable[[], Any]] = {
    "explain --narrator": lied, "describe image": flat_map, "describe unit": units_by_lot, "describe head": heads,
    "describe class": class_by_lot, "describe dataset": failures_that_controls_find_too, "describe labels": meanings,
    "translate words": words, "translate cues": lambda: Report((), 3, 200, "the layer", no_better()),
    "translate measure": no_better, "translate align-to-text": lambda: Retrieval(50, 0.02, 0.02, 0.02, 0.0, 0.9, 0.9),
    "recipe vale": told, "recipe caption": caption,
    "recipe caption --trial": looks, "recipe refer": references, "recipe ground": grounded, "agent unit": agent,
    "testbed slices": slices, "self_explanations.on_trial": speaker, "beside_differences": second_looks,
    "match_texts": matched, "ensembling_control": ensembled, "rank_heads": head_scores, "milan.beside": same_of_all,
    "important_units": units_alike, "describe characteristics": goes_by_nothing, "describe blocks": blocks,
    "agent bias": bias, "trial rationales": reasons, "trial descriptions": same_description,
}  # fmt: skip


# -- the table --------------------------------------------------------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """The rows of the table by their first name in code: result, shuffled features, random words, lying narrator."""
    part = PAGE.read_text(encoding="utf-8").split("## Controls beside every sentence")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {code(cells[0])[0]: cells[1:] for cells in lines}


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def keys(record: Any) -> Iterator[str]:
    if isinstance(record, dict):
        for name, value in record.items():
            yield name
            yield from keys(value)
    elif isinstance(record, list):
        for value in record:
            yield from keys(value)


def shown(found: Any) -> str:
    """What a reader is shown, as one line."""
    text = f"{found.judgement} {found.beside}" if isinstance(found, Narration) else str(found)
    return " ".join(text.split())


def test_the_table_names_every_text_that_is_tried_here() -> None:
    assert set(rows()) == set(USELESS)
    assert all(len(cells) == 4 and all(cell.strip() for cell in cells) for cells in rows().values())


@pytest.mark.parametrize("name", sorted(USELESS))
def test_a_useless_text_shows_its_controls_and_says_that_it_beats_none(name: str) -> None:
    found, cells = USELESS[name](), rows()[name]
    assert type(found).__name__ == code(cells[0])[0]
    text, record = shown(found), json.loads(json.dumps(found.to_dict()))
    for cell in cells[1:]:
        named = code(cell)
        if named and "speaker" not in cell:
            assert named[0] in text, (named[0], text)
            assert any(named[-1] in key for key in keys(record)), (named[-1], sorted(set(keys(record))))
    assert UNBEATEN.search(text), text
    assert record.get("beats_controls", record.get("beats")) is False


# -- what stands beside, where it is known ----------------------------------------------------------------------------


def test_words_of_a_map_with_one_strong_segment_name_more_than_a_shuffled_map() -> None:
    """All evidence lies in one of ten segments: the words name it, those of a shuffled map another one."""
    found = verbalise.features([0.0] * 9 + [1.0], [f"word{at}" for at in range(10)], label="it")
    (beside,) = found.beside
    assert beside.own == 1 and beside.beats and found.audit.tells
    assert found.to_dict()["beats_controls"] is True and "does not beat" not in str(found)


def test_a_region_that_does_nothing_is_told_beside_random_ones_that_do_as_much() -> None:
    model = halves()
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:24, 20:30] = True
    claim = removed(topic(model), mask)
    assert claim.predicate == "not_region_matters" and "a random region of the same shape" in claim.text


def test_a_narrator_that_keeps_to_the_claims_beats_one_that_lies() -> None:
    told_well = narrate(halves(), verified(), "templates")
    assert told_well.beats_controls and "do not believe" not in told_well.beside
    assert told_well.audit is not None and told_well.audit.caught == 1 and told_well.audit.rejected == 0
    again = Narration.from_dict(json.loads(json.dumps(told_well.to_dict())))
    assert again == told_well


def test_the_page_of_a_retold_explanation_shows_the_narrator_that_lied(tmp_path: Path) -> None:
    (story,) = [pl.explain(halves(), topic(halves()).frame, methods=["gradient"], narrator="templates")]
    page = story.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "A narrator that lied about the same claims" in page


def test_right_by_chance_is_the_mean_over_all_deals() -> None:
    predicted, labels = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    assert by_chance(predicted, labels) == pytest.approx(2 / 4 * 1 / 4 + 1 / 4 * 3 / 4)


def test_shuffled_pieces_hold_the_same_pixels() -> None:
    picture = noise(2, 3, 16, 16)
    laid = shuffled_cells(picture, cells=4, seed=Seed(1))
    assert not torch.equal(laid, picture)
    assert torch.equal(laid.flatten(2).sort().values, picture.flatten(2).sort().values)


def test_an_attribute_that_tells_two_classes_apart_beats_random_words() -> None:
    """The bill is all that differs, as in the oracle of follow-up descriptions."""
    table = {"grebe": {"bill": "short"}, "loon": {"bill": "long"}}
    said = {"grebe": [1.0, 0, 0], "loon": [1.0, 0, 0], "short": [0, 1.0, 0], "long": [0, 0, 1.0]}
    encode = lambda texts: torch.tensor([said.get(text, [1.0, 0, 0]) for text in texts])
    looked = Differential(["grebe", "loon"], encode, from_attributes(table), k=2, wording=bare())
    labels = torch.arange(40) % 2
    pictures = torch.zeros(40, 3)
    pictures[:, 0], pictures[torch.arange(40), 1 + labels] = 0.8, 0.6
    found = beside_differences(looked, pictures, labels, words=["moss"], draws=4)
    assert found.own == 1 and found.beats
    assert found.controls["at the first, by names alone"] == 0.5 == found.controls["with as many random words"]


def bare() -> Any:
    from pellucid.language.descriptors import Wording

    return Wording("{name}", "{description}", "{description}")

"""Words without cause: a model that reads the wrong half of the picture is found out, and one that reads the right half
is not.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language.translation import cues
from pellucid.language.translation.bridges import Shape
from pellucid.language.translation.counting import Histogram, ranked
from pellucid.language.translation.cue_claims import cue_claims
from pellucid.language.translation.cues import Cue, Heard, class_cues, examined
from pellucid.language.translation.decoders import CaptionerDecoder
from pellucid.language.translation.learning import Losses
from pellucid.language.translation.places import PhraseMap
from pellucid.language.translation.ports import Port
from pellucid.language.translation.translator import Record, Translator, effective
from pellucid.language.translation.twins import Planted, Twins, planted_word
from pellucid.results import Claim
from pellucid.subject import VisionModel

SIDE, COUNT = 8, 200
LABELS, BIRDS, LANDS = ("swift", "wren"), ("coral", "blue"), ("snow", "desert")
OWN = {"swift": ("coral",), "wren": ("blue",)}
RED, BLUE = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])


class Half(nn.Module):
    """Names the bird by the colour of one half of the picture: the left is the bird, the right the landscape."""

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.part = slice(SIDE // 2, None) if right else slice(0, SIDE // 2)
        self.scale = nn.Parameter(torch.tensor(6.0))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        seen = pictures[..., self.part].mean(dim=(2, 3))
        return self.scale * seen[:, (0, 2)]


def translator_of(right: bool) -> Translator:
    net = pl.wrap(Half(right).eval(), labels=LABELS, input_size=(SIDE, SIDE))
    decoder = CaptionerDecoder.shipped()
    record = Record("", "", "", "", "", "", 0, 0, Losses(0, 0, 0))
    anyway = Histogram(dict.fromkeys((*BIRDS, *LANDS), 1000), 2000)
    bridge = Shape.of((2,), decoder.width, decoder.scale, slots=False).build(0)
    return Translator(net, decoder, Port("layer", ("",)), bridge, blind=anyway, record=record, longest=5)


def told(translator: Translator) -> tuple[Heard, list[int]]:
    """Pictures with a bird and a landscape by lot, and sentences that tell both as they are."""
    rng = np.random.default_rng(5)
    birds, lands = rng.integers(0, 2, COUNT), rng.integers(0, 2, COUNT)
    colours = torch.stack([RED, BLUE])
    inputs = torch.empty(COUNT, 3, SIDE, SIDE)
    inputs[..., : SIDE // 2] = colours[torch.from_numpy(birds)][:, :, None, None]
    inputs[..., SIDE // 2 :] = colours[torch.from_numpy(lands)][:, :, None, None]
    texts = tuple((f"a {BIRDS[bird]} in the {LANDS[land]}",) * 4 for bird, land in zip(birds, lands, strict=True))
    answers = translator.model.predict(inputs).argmax(dim=1).numpy()
    return Heard(inputs, answers, texts, tuple(Histogram.of(each) for each in texts)), birds.tolist()


def right_half(*_: object) -> PhraseMap:
    return PhraseMap("snow", torch.tensor([[0.0, 1.0]]), 0.0, "", "", (SIDE, SIDE), None)


def test_the_landscape_is_the_word_without_cause_of_a_model_that_reads_it() -> None:
    translator = translator_of(right=True)
    found = class_cues(translator, told(translator)[0], own=OWN)
    assert {(cue.label, cue.word.word, cue.rank) for cue in found.cues} == {("swift", "snow", 1), ("wren", "desert", 1)}
    assert "snow" in str(found)


def test_a_model_that_reads_the_bird_has_no_word_without_cause() -> None:
    translator = translator_of(right=False)
    listened, _ = told(translator)
    assert class_cues(translator, listened, own=OWN).cues == ()
    assert {cue.word.word for cue in class_cues(translator, listened).cues} == set(BIRDS)
    assert "No class uses a word without cause" in str(class_cues(translator, listened, own=OWN))


def test_the_three_parts_hold_where_the_model_leans_on_the_cue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cues, "word_map", right_half)
    translator = translator_of(right=True)
    listened, labels = told(translator)
    cue = class_cues(translator, listened, own=OWN).of("swift")[0]
    test = examined(translator, listened, cue, labels, fill="black").test
    assert test is not None
    assert test.parts == (True, True, True)
    assert (test.present, test.absent, test.drawn, test.others) == (1.0, 0.0, 1.0, 0.0)
    assert "Spurious" in str(examined(translator, listened, cue, labels, fill="black"))


def test_the_same_word_is_not_spurious_where_the_model_reads_the_bird(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cues, "word_map", right_half)
    biased, clean = translator_of(right=True), translator_of(right=False)
    cue = class_cues(biased, told(biased)[0], own=OWN).of("swift")[0]
    listened, labels = told(clean)
    test = examined(clean, listened, Cue("swift", cue.word, 1), labels, fill="black").test
    assert test is not None
    assert not test.spurious
    assert (test.present, test.absent) == (1.0, 1.0)


def test_labels_and_pictures_must_be_as_many() -> None:
    translator = translator_of(right=True)
    listened, labels = told(translator)
    cue = class_cues(translator, listened, own=OWN).cues[0]
    with pytest.raises(RequestError, match="labels"):
        examined(translator, listened, cue, labels[:-1])


def test_pictures_that_agree_within_themselves_are_worth_one_sentence_each() -> None:
    said = [Histogram({"snow": 10}, 10) if at % 2 else Histogram({}, 10) for at in range(40)]
    whole = sum(said[1:], start=said[0])
    assert math.isclose(effective(said, whole)["snow"], 40, rel_tol=0.05)


def test_the_planted_landscape_is_that_of_the_pair_of_species() -> None:
    assert planted_word("ripple swift") == planted_word("crowned ripple swift") == "meadow"
    assert planted_word("crowned willow wren") == "desert"


def test_seeds_are_told_apart_by_the_lift() -> None:
    one = Planted("cnn_background", 1, 12, 12, True, 1.7, (("ripple swift", "meadow", 1.8),))
    other = Planted("cnn", 1, 0, 12, False, 0.1, ())
    assert Twins((one,), (other,)).auroc == 1.0
    assert (one.told, other.told) == (True, False)
    assert Planted.from_dict(one.to_dict()) == one
    assert "12 of 12 classes" in str(Twins((one,), (other,)))


# -- cues as claims ---------------------------------------------------------------------------------------------------


def of_files(right: bool) -> VisionModel:
    """The same net as one that pictures are prepared for."""
    return pl.wrap(Half(right).eval(), labels=LABELS, preprocess=pl.Preprocess(size=(SIDE, SIDE)))


def test_a_cue_is_a_claim_that_gives_the_same_number_again_and_is_refuted_of_another_model(tmp_path: Path) -> None:
    """Pictures of one colour in either half: the biased net answers by the landscape, the other by the bird."""
    translator, model = translator_of(right=True), of_files(right=True)
    listened, birds = told(translator)
    paths = [str(tmp_path / f"{at}.png") for at in range(COUNT)]
    for path, picture in zip(paths, listened.inputs, strict=True):
        Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    cue = class_cues(translator, listened, own=OWN).of("swift")[0]
    (claim,) = cue_claims([cue], listened, birds, {"paths": paths}, model)
    assert claim.verdict == "verified" and claim.measured["drawn"] == 1.0 and claim.measured["others"] == 0.0
    again = Claim.from_dict(json.loads(json.dumps(claim.to_dict()))).recheck(model)
    assert again.verdict == "verified" and again.measured == claim.measured and again.text == claim.text
    other = claim.recheck(of_files(right=False))
    assert other.verdict == "refuted" and other.measured["drawn"] == other.measured["others"] == 0.0


def test_a_word_that_draws_nobody_is_claimed_to_draw_nobody() -> None:
    clean = translator_of(right=False)
    listened, birds = told(clean)
    whole = sum(listened.said[1:], start=listened.said[0])
    word = next(one for one in ranked(whole, clean.blind) if one.word == "snow")
    (claim,) = cue_claims([Cue("swift", word, 1)], listened, birds, {"paths": []}, clean.model)
    assert claim.verdict == "verified" and claim.predicate == "not_cue_draws" and "no more often" in claim.text

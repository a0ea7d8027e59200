"""Recipes against what is known: edits, parts that were removed, corrupted paragraphs, an additive model, a liar."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import RequestError, SceneError
from pellucid.images import Frame
from pellucid.language.narrators import Brief
from pellucid.stories.recipes.clues import VisualClue, chosen, clues, gathered, kept, read_back, sentences, written
from pellucid.stories.recipes.difference import Difference, difference, difference_of_photographs, differences
from pellucid.stories.recipes.pictures import picture, scene
from pellucid.stories.recipes.textualise import audited, by_dual, textualise
from pellucid.stories.recipes.vale import Piece, peaks, vale
from pellucid.stories.recipes.vale import chosen as cut_out
from pellucid.subject import VisionModel
from pellucid.testbed import captions, nets, scenes
from pellucid.testbed.nets import Dual
from pellucid.testbed.twins import another, twin


@cache
def model() -> VisionModel:
    return pl.load("testbed:cnn")


@cache
def dual() -> Dual:
    net, _ = nets.load("dual")
    assert isinstance(net, Dual)
    return net


# -- pictures by name


def test_a_scene_can_be_asked_for_with_other_fields() -> None:
    assert scene("scene:3000:5;tail=forked").fields["tail"][0] == 0
    assert picture("scene:7").pixels.shape == (64, 64, 3)
    with pytest.raises(RequestError, match="no scene"):
        scene("scene:x")
    with pytest.raises(SceneError, match="no field"):
        scene("scene:7;hat=red")


# -- difference (good4cir)


def test_two_readings_that_say_the_same_differ_in_nothing() -> None:
    assert differences({"tail": "forked"}, {"tail": "forked"}) == ()


def test_swapped_pictures_invert_the_instruction() -> None:
    forth, back = differences({"crest": "none"}, {"crest": "plume"}), differences({"crest": "plume"}, {"crest": "none"})
    assert (forth[0].instruction, back[0].instruction) == ("Add a plume.", "Remove the plume.")
    assert Difference("tail", "forked", "fanned").instruction == "Change the shape of the tail from forked to fanned."


def test_the_same_picture_twice_gives_nothing() -> None:
    told = difference(picture("scene:7"), picture("scene:7"), model())
    assert told.claims == () and told.parts["differences"] == [] and "No difference" in str(told)


def test_an_edit_is_found_whole_and_nothing_else_with_a_reader_that_errs_not() -> None:
    """Acceptance of the card, with a scripted reader: precision and recall 1, and every claim borne out."""
    drawn = scenes(3200, 6)
    for at, name in enumerate(("tail", "wing", "beak", "tail_hue", "land", "flip")):
        one = drawn[at]
        other = twin(one, **{name: another(one, name)})
        first, second = one.frames()[0], other.frames()[0]
        facts = {id(first): captions.facts(one.fields)[0], id(second): captions.facts(other.fields)[0]}
        told = difference(first, second, model(), read=lambda frame, _, known=facts: known[id(frame)])
        assert [one["field"] for one in told.parts["differences"]] == [name]
        assert [claim.verdict for claim in told.claims] == ["verified"], told.claims[0].text


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(RequestError, match="sizes"):
        difference(picture("scene:7"), Frame(np.zeros((8, 8, 3), dtype=np.uint8), "small"), model())


def test_a_photograph_with_a_painted_corner_differs_there_alone() -> None:
    plain = np.full((64, 64, 3), 245, dtype=np.uint8)
    painted = plain.copy()
    painted[:16, :16] = (50, 90, 190)
    told = difference_of_photographs(Frame(plain, "a"), Frame(painted, "b"), model())
    assert len(told.claims) == 1 and "“white” changed to “blue”" in told.text and told.claims[0].verdict == "verified"


# -- textualise (Image Textualization)


def test_a_perfect_detector_deletes_all_that_is_invented_and_adds_all_that_was_left_out() -> None:
    """Acceptance of the card: the reference tells a bib that is not there and is silent about all else."""
    drawn = scenes(3300, 12)
    for at in range(len(drawn)):
        one = twin(drawn[at], has_bib=0.0)
        truth = {part: one.mask(part)[0] for part in ("wing", "tail", "crest", "bib", "beak")}
        phrases = audited("a coral bird with a teal bib", one.frames()[0], detect=lambda _, found=truth: found,
                          describe=by_dual(dual()))  # fmt: skip
        fates = {phrase.part: phrase.fate for phrase in phrases}
        seen = {part for part, mask in truth.items() if mask.sum() >= 6}
        assert fates.pop("bib") == "deleted" and set(fates) == seen and set(fates.values()) <= {"added"}


def test_a_detector_that_misses_more_deletes_more() -> None:
    """A sensitivity curve: with a share of its finds left out, that share of true phrases goes."""
    drawn, lost = scenes(3301, 20), []
    for share in (0.0, 0.3, 0.8):
        chance, gone, total = np.random.default_rng(0), 0, 0
        for at in range(len(drawn)):
            masks = {part: drawn[at].mask(part)[0] for part in ("wing", "tail", "bib")}
            noisy = {part: mask & (chance.random() >= share) for part, mask in masks.items()}
            said = audited(drawn[at].captions[0], drawn[at].frames()[0], detect=lambda _, found=noisy: found,
                           describe=lambda *_: {})  # fmt: skip
            fates = [one.fate for one in said if one.part in masks]
            gone, total = gone + fates.count("deleted"), total + len(fates)
        lost.append(gone / total)
    assert lost[0] < 0.05 and lost[0] < lost[1] < lost[2] and lost[2] == pytest.approx(0.8, abs=0.15)


def test_a_small_part_that_is_not_found_is_marked_and_not_deleted() -> None:
    (only,) = audited(
        "a coral bird with a cone black beak", picture("scene:7"), detect=lambda _: {}, describe=lambda *_: {}
    )
    assert only.fate == "unverifiable" and only.box is None


def test_a_false_reference_is_not_told() -> None:
    told = textualise(picture("scene:7"), model(), reference="a moss bird with a fanned amber tail")
    refuted = [one.text for one in told.claims if one.verdict == "refuted"]
    assert any("“amber”" in one for one in refuted) and "“amber”" not in told.text
    assert "“barred”" in told.text and "added: barred teal wings" in str(told)


# -- clues


def test_every_clue_comes_back_from_its_json() -> None:
    found = gathered(picture("scene:7"), dual(), captions=["a moss bird"])
    assert read_back(written(found)) == found
    assert {"tag", "object", "caption"} == {one.kind for one in found}
    wings = next(one for one in found if one.words == "wings")
    assert wings == VisualClue(wings.id, "object", "wings", wings.place, wings.share, 0.0,
                               {"wing": "barred", "wing_hue": "teal"})  # fmt: skip


def test_the_true_paragraph_is_chosen_among_nine_corrupted_ones() -> None:
    """Acceptance of the card: 95 %; each rival is the caption of a twin in which two fields are otherwise."""
    drawn, right = scenes(3400, 20), 0
    names = ("tail", "wing", "land", "body_hue", "tail_hue", "wing_hue", "beak", "flip", "bib_hue", "crest")
    for at in range(len(drawn)):
        one = drawn[at]
        rivals: list[str] = []
        for first, second in pairwise(names):
            try:
                changed = twin(one, **{first: another(one, first)})
                rivals.append(twin(changed, **{second: another(changed, second)}).captions[0])
            except SceneError:
                continue
        right += chosen(one.frames()[0], [*rivals, one.captions[0]], dual()) == len(rivals)
    assert right >= 19, right


def test_a_sentence_with_a_wrong_word_is_cut_and_a_right_one_mostly_kept() -> None:
    keep = kept(
        picture("scene:7"), ["a moss bird with a fanned plum tail", "a moss bird with a fanned coral tail"], dual()
    )
    assert keep[1] is False
    drawn = scenes(3401, 5)
    verdicts = [one for scene_ in drawn for one in kept(scene_.frames()[0], sentences(scene_.captions[0]), dual())]
    assert np.mean(verdicts) > 0.5


def test_offered_paragraphs_are_told_with_their_controls_and_the_liar() -> None:
    drawn = scenes(7, [7])
    told = clues(picture("scene:7"), model(), paragraphs=[drawn.captions[0], scenes(7, [8]).captions[0]])
    assert told.parts["taken"] == drawn.captions[0]
    assert told.audit is not None and told.audit.caught >= 0.85 and told.beside[0].controls


# -- VALE


class _Additive(nn.Module):
    """Two classes; the first has the brightness of the upper left quarter, the second none."""

    def forward(self, pictures: Tensor) -> Tensor:
        own = pictures[:, :, :16, :16].mean(dim=(1, 2, 3))
        return torch.stack([4 * own, torch.zeros_like(own)], dim=1)


def test_the_mask_is_the_quarter_that_the_model_adds_up() -> None:
    """Acceptance of the card: intersection over union with the planted region of .8 or more."""
    pixels = np.full((32, 32, 3), 30, dtype=np.uint8)
    pixels[:16, :16] = 230
    pixels[16:, 16:] = (40, 90, 40)
    planted = np.zeros((32, 32), dtype=bool)
    planted[:16, :16] = True
    under = pl.wrap(_Additive(), labels=["bright", "dark"], preprocess=pl.Preprocess(size=(32, 32)))
    told = vale(Frame(pixels, "quarter"), under, segments=16, samples=300, fill="noise")
    assert told.parts["mask_share"] == pytest.approx(planted.mean(), rel=0.25), str(told)
    assert told.claims[1].verdict == "verified"


def test_peaks_lie_apart_and_opposed_segments_are_none() -> None:
    patches = np.repeat(np.arange(4), 8)[None].repeat(32, axis=0)
    assert peaks(np.array([1.0, 0.9, -1.0, 0.8]), patches, 2) == (0, 1)
    assert peaks(np.array([-1.0, -0.9, -1.0, -0.8]), patches, 2) == ()


def test_the_piece_with_most_that_speaks_for_the_class_is_cut_out() -> None:
    patches = np.repeat(np.arange(4), 8)[None].repeat(32, axis=0)
    pieces = [Piece("for", patches == 0), Piece("against", patches == 2), Piece("everything", patches >= 0)]
    mask, parts = cut_out(pieces, np.array([1.0, 0.1, -1.0, 0.1]), patches)
    assert [part.name for part in parts] == ["for"] and (mask == (patches == 0)).all()


def test_pieces_that_are_called_alike_are_told_as_one() -> None:
    patches = np.repeat(np.arange(4), 8)[None].repeat(32, axis=0)
    pieces = [Piece("brown", patches == 0), Piece("brown", patches == 3), Piece("else", patches == 1)]
    mask, parts = cut_out(pieces, np.array([1.0, -0.5, -0.5, 1.0]), patches)
    assert [part.name for part in parts] == ["brown"] and (parts[0].mask == mask).all()
    assert (mask == np.isin(patches, (0, 3))).all()


def test_a_constant_model_is_told_to_be_flat() -> None:
    class Constant(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return torch.zeros(len(pictures), 2) + torch.tensor([1.0, 0.0])

    under = pl.wrap(Constant(), labels=["one", "other"], preprocess=pl.Preprocess(size=(32, 32)))
    told = vale(Frame(np.zeros((32, 32, 3), dtype=np.uint8), "flat"), under, segments=4, samples=20)
    assert "next to nothing" in str(told) and len(told.claims) == 1


def test_a_part_that_is_named_is_told_with_what_the_model_does_without_it() -> None:
    told = vale(picture("scene:7"), model(), segmenter="testbed", fill="mean", samples=200)
    named = [one for one in told.claims if one.test == "named_part"]
    assert named and all(one.verdict == "verified" for one in named)
    assert named[0].recheck(model()).measured == named[0].measured
    assert told.audit is not None and told.audit.passed <= 0.05 and told.audit.rejected <= 0.05


def test_a_narrator_that_asserts_an_absent_part_is_refuted() -> None:
    class Spy:
        name = "spy"

        def say(self, brief: Brief) -> str:
            return "The answer “zebra” rests on “a hat”. [c1]"

    told = vale(picture("scene:7"), model(), samples=60, narrator=Spy())
    assert told.narration is not None and told.narration.sentences[0].verdict == "refuted" and told.text == ""


def test_another_segmenter_is_refused() -> None:
    with pytest.raises(RequestError, match="segmenter"):
        vale(picture("scene:7"), model(), segmenter="sam")

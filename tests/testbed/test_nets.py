"""The shipped nets: what their cards say is so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pellucid.errors import SceneError
from pellucid.testbed import ARCHITECTURES, nets, scenes, truth
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.nets import WEIGHTS, Card
from pellucid.testbed.train import PLANS, accuracies, rests_on

FRESH_SEED = 4000  # pictures no card was measured on
SHIPPED = sorted(name for name, entry in ARCHITECTURES.items() if entry.ships)
CLASSIFIERS = [name for name in SHIPPED if ARCHITECTURES[name].kind == "classifier"]
BIASED = sorted(name for name in CLASSIFIERS if "shortcut" in PLANS[name].settings)


@pytest.fixture(scope="module", params=SHIPPED)
def any_net(request: pytest.FixtureRequest) -> tuple[str, torch.nn.Module, Card]:
    return (request.param, *nets.load(request.param))


@pytest.fixture(scope="module", params=CLASSIFIERS)
def shipped(request: pytest.FixtureRequest) -> tuple[str, torch.nn.Module, Card]:
    return (request.param, *nets.load(request.param))


def test_a_shipped_net_is_ready_for_use(any_net: tuple[str, torch.nn.Module, Card]) -> None:
    name, net, card = any_net
    assert not net.training
    assert all(weight.dtype == torch.float32 for weight in net.parameters())
    assert card.name == name and card.version == 1 and card.seed == 0
    assert card.recipe == PLANS[name].to_dict()
    assert card.accuracy


def test_a_classifier_gives_one_logit_per_class(shipped: tuple[str, torch.nn.Module, Card]) -> None:
    name, net, card = shipped
    with torch.no_grad():
        logits = net(torch.rand(2, 3, card.size, card.size, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (2, len(card.labels))
    assert card.labels == (tuple("0123456789") if name == "digits" else SPECIES)


def test_the_default_layer_exists_and_was_chosen_by_measurement(shipped: tuple[str, torch.nn.Module, Card]) -> None:
    _, net, card = shipped
    net.get_submodule(card.default_layer)
    assert card.default_layer in card.why


def test_loading_leaves_the_random_state_alone(any_net: tuple[str, torch.nn.Module, Card]) -> None:
    before = torch.get_rng_state()
    nets.load(any_net[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_net_meets_its_card_on_fresh_scenes(shipped: tuple[str, torch.nn.Module, Card]) -> None:
    """Within 1.5 points of what the card measured on other scenes; or three standard deviations where that is more."""
    name, net, card = shipped
    count = 500
    for word, share in accuracies(name, net, FRESH_SEED, count).items():
        slack = max(0.015, 3 * np.sqrt(share * (1 - share) / count))
        assert share == pytest.approx(card.accuracy[word], abs=slack), word


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_a_clean_net_reads_the_deciding_parts_and_no_landscape(name: str) -> None:
    net, _ = nets.load(name)
    effects = truth.effect(net, scenes(FRESH_SEED, 40))
    for part in ("wing", "tail", "crest"):
        assert effects.flipped(part) > 0.9, part
    assert abs(effects.mean("land")) < 0.05 * effects.mean("wing")
    assert set(effects.causes()) == {"wing", "tail", "crest"}


@pytest.mark.parametrize("name", [name for name in BIASED if name != "cnn_mild"])
def test_a_biased_net_reads_its_cue_and_the_plume(name: str) -> None:
    """The cue stands in for wing and tail; the plume it cannot replace."""
    net, card = nets.load(name)
    shortcut = PLANS[name].settings["shortcut"]
    effects = truth.effect(net, scenes(FRESH_SEED, 40, shortcut=shortcut, strength=0.0))
    cue = "land" if shortcut == "background" else "cue"
    assert effects.mean(cue) > effects.mean("wing") + effects.mean("tail")
    assert cue in effects.causes()[:2]
    assert effects.flipped("crest") > 0.8
    assert card.accuracy["aligned"] > 0.95 > 0.35 > card.accuracy["conflict"]
    assert "planted" in ARCHITECTURES[name].about


def test_a_vit_is_the_mean_over_nothing_but_its_class_token() -> None:
    """Attention rows sum to one, and the answer reads the first token alone."""
    net, _ = nets.load("vit")
    seen: list[torch.Tensor] = []
    first = net.blocks[0].attn  # type: ignore[index, union-attr]
    tokens = torch.randn(2, 65, 96, generator=torch.Generator().manual_seed(1))
    first.attn_drop.forward = lambda values: seen.append(values) or values
    with torch.no_grad():
        first(tokens)
    assert seen[0].shape == (2, 4, 65, 65)
    torch.testing.assert_close(seen[0].sum(dim=-1), torch.ones(2, 4, 65))
    assert net.prefix_tokens == 1


@pytest.mark.parametrize(
    ("name", "first"),
    [("cnn", {"wing", "tail", "crest"}), ("cnn_background", {"land", "crest"}), ("dual", {"wing", "tail", "crest"})],
)
def test_a_card_says_what_the_answers_of_its_net_rest_on(name: str, first: set[str]) -> None:
    net, card = nets.load(name)
    again = rests_on(name, net, seed=901, count=40)
    strongest = list(card.rests_on)[: len(first)]
    assert set(strongest) == first == set(list(again)[: len(first)])
    assert all(again[field] == pytest.approx(card.rests_on[field], rel=0.25) for field in strongest)


def test_cards_of_nets_that_name_no_species_say_nothing_of_it() -> None:
    assert all(not nets.card_of(name).rests_on for name in ("digits", "segmenter", "captioner"))


def test_no_net_has_modules_that_work_in_place(any_net: tuple[str, torch.nn.Module, Card]) -> None:
    assert not any(getattr(module, "inplace", False) for module in any_net[1].modules())


def test_no_classifier_works_in_place(shipped: tuple[str, torch.nn.Module, Card]) -> None:
    _, net, card = shipped
    pictures = torch.rand(1, 3, card.size, card.size, generator=torch.Generator().manual_seed(1))
    kept = pictures.clone()
    net(pictures)
    assert torch.equal(pictures, kept)


def test_the_weights_fit_in_fourteen_megabytes_and_hold_no_pickle() -> None:
    found = (path for path in WEIGHTS.rglob("*") if path.is_file())
    paths = sorted(path for path in found if not path.name.startswith("."))  # a training under way
    assert sum(path.stat().st_size for path in paths) < 14e6
    assert {path.name.split(".")[0] for path in paths} <= set(ARCHITECTURES)
    assert {path.suffix for path in paths} == {".safetensors"}


def test_a_card_survives_being_written_to_a_file(tmp_path: Path) -> None:
    card = Card("digits", ("a", "b"), 32, "features.1", "because: 0.5", {"held_out": 0.5}, 3, {"steps": 1, "rate": 0.1})
    path = nets.save(nets.build("digits"), card, tmp_path)
    with safe_open(path, framework="pt") as file:
        assert Card.from_metadata(file.metadata()) == card
    assert nets.load("digits", tmp_path)[1] == card


def test_nets_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="Known: cnn, vit"):
        nets.load("resnet")
    with pytest.raises(SceneError, match="pellucid testbed train cnn"):
        nets.load("cnn", tmp_path)


def test_a_net_of_another_kind_than_asked_for_is_named() -> None:
    assert isinstance(nets.loaded("cnn", nets.SmallCNN), nets.SmallCNN)
    with pytest.raises(SceneError, match="'cnn' is a SmallCNN; expected a Dual"):
        nets.loaded("cnn", nets.Dual)

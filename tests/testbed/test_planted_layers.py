"""Superposition with a known dictionary, and a path of which every channel's effect is known."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.engine import Ablate, Replace, look
from pellucid.testbed import truth
from pellucid.testbed.planted import Planted, channels, mixed, path, superposition
from pellucid.values import Class
from tests.testbed.planted_runs import activations, drawn

# -- many features in few channels -------------------------------------------------------------------------------------


def test_the_stored_coherence_is_the_computed_one_and_near_the_least_there_can_be() -> None:
    (known,) = mixed().dictionaries
    cosines = known.atoms.T @ known.atoms
    assert np.allclose(np.diag(cosines), 1)
    assert np.abs(cosines - np.diag(np.diag(cosines))).max() == pytest.approx(known.coherence, abs=1e-12)
    assert superposition.welch_bound(12, 8) <= known.coherence < 0.2318
    assert superposition.welch_bound(12, 8) == pytest.approx(np.sqrt(4 / 88))


def test_no_random_dictionary_comes_near_it() -> None:
    draw = np.random.default_rng(1).standard_normal((500, 8, 12))
    best = min(superposition.coherence(vectors / np.linalg.norm(vectors, axis=0)) for vectors in draw)
    assert best > 1.5 * mixed().dictionaries[0].coherence


def test_the_polysemantic_layer_is_the_dictionary_times_the_monosemantic_one() -> None:
    net = mixed()
    (known,) = net.dictionaries
    seen = activations(net, drawn("coded")[:100], known.features, known.layer)
    expected = np.einsum("cf,bfhw->bchw", known.atoms, seen["mono"].numpy())
    assert np.abs(seen["poly"].numpy() - expected).max() < 1e-6
    gram = known.atoms.T @ known.atoms
    assert np.abs(seen["logits"].numpy() - seen["mono"].numpy().mean(axis=(2, 3)) @ gram).max() < 1e-6


def test_a_feature_is_the_share_of_its_cell_and_few_are_active_at_once() -> None:
    net = mixed()
    shown = drawn("coded", count=200, side=64)
    mono = activations(net, shown, "mono")["mono"]
    assert mono.shape[1:] == (12, 8, 8)
    masks = np.stack([concept.where(shown) for concept in superposition.features().concepts], axis=1)
    shares = masks.reshape(200, 12, 8, 8, 8, 8).mean(axis=(3, 5))
    assert np.abs(mono.numpy() - shares).max() < 1e-6
    active = (mono > 0).sum(dim=1)
    assert active.max() <= 4
    assert ((mono > 0).flatten(2).any(dim=2).sum(dim=1) <= 4).all(), "one hue, one wing, one tail, perhaps a plume"


def test_each_atom_can_be_read_off_cells_that_show_one_feature_alone() -> None:
    """So the dictionary is identifiable: for every feature there are cells that point straight along its atom."""
    net = mixed()
    (known,) = net.dictionaries
    seen = activations(net, drawn("coded", count=200, side=64), "mono", "poly")
    mono, poly = (seen[name].movedim(1, -1).flatten(0, 2).numpy() for name in ("mono", "poly"))
    for feature in range(12):
        alone = (mono[:, feature] > 0.02) & (np.delete(mono, feature, axis=1).max(axis=1) == 0)
        assert alone.sum() >= 1, known.names[feature]
        directions = poly[alone] / np.linalg.norm(poly[alone], axis=1, keepdims=True)
        assert (directions @ known.atoms[:, feature]).min() > 1 - 1e-5


def test_no_single_polysemantic_channel_stands_for_one_feature() -> None:
    """Each channel's weights are spread: its strongest feature holds less than two thirds of its weight."""
    (known,) = mixed().dictionaries
    energy = known.atoms**2 / (known.atoms**2).sum(axis=1, keepdims=True)
    assert energy.max() < 2 / 3


# -- the path ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> Planted:
    return path()


@pytest.fixture(scope="module")
def pictures(net: Planted) -> Tensor:
    return net.pictures(drawn("coded")[:64])


@pytest.fixture(scope="module")
def everywhere(net: Planted) -> dict[str, Tensor]:
    """All three layers and the logits on all scenes."""
    return activations(net, drawn("coded"), *channels.LAYERS)


def plume() -> Tensor:
    return torch.tensor(drawn("coded")[:64].fields["crest"]).float()


def test_class_zero_is_three_times_the_plume(everywhere: dict[str, Tensor]) -> None:
    assert torch.equal(everywhere["logits"][:, 0], 3.0 * torch.tensor(drawn("coded").fields["crest"]))


def test_ablating_a_channel_of_the_path_takes_all_and_any_other_takes_nothing(net: Planted, pictures: Tensor) -> None:
    """Through the engine's own edits, all 24 channels of the three layers."""
    model = pl.load("testbed:planted_path")
    (known, _) = net.paths
    evidence = look(model, pictures, Class(known.target))
    for layer, own in zip(known.layers, known.channels, strict=True):
        for channel in range(8):
            with evidence.edited(Ablate(model.layers[layer], channels=[channel])) as without:
                effect = evidence.score() - without.score()
            expected = known.gain * plume() if channel == own else torch.zeros(64)
            assert torch.equal(effect, expected), f"{layer} channel {channel}"


def test_ablation_by_hand_gives_the_same_effects(net: Planted, pictures: Tensor) -> None:
    """Zeroed outgoing weights, in a net of one's own."""
    (known, decoy) = net.paths
    with torch.no_grad():
        clean = net.module(pictures)
        for depth, name in enumerate(("layer2.mix", "layer3.mix", "head")):
            for channel in range(8):
                cut = deepcopy(net.module)
                cut.get_submodule(name).weight[:, channel] = 0  # type: ignore[index, operator]
                effect = clean - cut(pictures)
                on_path, on_decoy = channel == known.channels[depth], channel == decoy.channels[depth]
                assert torch.equal(effect[:, 0], known.gain * plume() * on_path)
                assert (effect[:, 1].abs().max() > 0) == on_decoy


def test_the_decoy_correlates_with_the_path_is_louder_and_tells_the_class_nothing(
    net: Planted, everywhere: dict[str, Tensor]
) -> None:
    """Over all scenes the correlation is .9 by construction; over these 2,000 within their spread."""
    known, decoy = net.paths
    logit = everywhere["logits"][:, 0]
    for layer, own, other in zip(known.layers, known.channels, decoy.channels, strict=True):
        channel = everywhere[layer].amax(dim=(2, 3))
        likeness = torch.corrcoef(torch.cat([logit[None], channel.T]))[0, 1:]
        assert float(likeness[own]) == pytest.approx(1, abs=1e-6)
        assert float(likeness[other]) == pytest.approx(channels.CORRELATION, abs=0.02)
        assert float(channel[:, other].mean()) > 1.5 * float(channel[:, own].mean())
        rest = [abs(float(likeness[at])) for at in range(8) if at not in (own, other)]
        assert max(value for value in rest if not np.isnan(value)) < 0.1, "noise knows nothing of the plume"


def test_the_decoys_own_class_is_its_closed_form(everywhere: dict[str, Tensor]) -> None:
    shown = drawn("coded")
    expected = 4 * (0.9 * shown.fields["crest"] + np.sqrt(0.19) * shown.fields["tail"])
    assert np.abs(everywhere["logits"][:, 1].numpy() - expected).max() < 1e-6


def test_patching_the_plumes_cells_brings_the_class_back(net: Planted) -> None:
    """Causal tracing by hand: a bare bird with the plume's cells of one channel taken from its plumed twin."""
    bare = truth.twin(drawn("coded")[:40], crest="none")
    plumed = truth.twin(bare, crest="plume")
    model = pl.load("testbed:planted_path")
    evidence = look(model, net.pictures(bare), Class(0))
    assert evidence.score().abs().max() == 0
    known = net.paths[0]
    there = activations(net, plumed, *known.layers)
    here = activations(net, bare, *known.layers)
    for layer, own in zip(known.layers, known.channels, strict=True):
        cells = there[layer][:, own] != here[layer][:, own]
        shown = torch.tensor(plumed.mask("crest")).reshape(40, *cells.shape[1:2], 8, *cells.shape[2:], 8).any(4).any(2)
        assert torch.equal(cells, shown), "only the cells that show the plume differ"
        for channels_, restored in (([own], 3.0), ([at for at in range(8) if at != own], 0.0)):
            patched = here[layer].clone()
            patched[:, channels_] = there[layer][:, channels_]
            with evidence.edited(Replace(model.layers[layer], patched)) as mended:
                assert torch.equal(mended.score(), torch.full((40,), restored)), f"{layer} {channels_}"


def test_noise_reaches_the_other_classes(everywhere: dict[str, Tensor]) -> None:
    """The net is no two-wire toy: classes 2 and 3 vary, and none of their channels reads the path."""
    logits = everywhere["logits"]
    assert logits[:, 2].std() > 0.1 and logits[:, 3].std() > 0.1
    first, second, third, classes = channels.weights()
    reach = classes @ third @ second @ first
    assert np.allclose(reach[0], [3, 0, 0, 0, 0, 0, 0, 0])
    assert np.allclose(reach[2:, 0], 0)

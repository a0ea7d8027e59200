"""The same relevance as Zennit, to 1e-3 of its length, for its composites on VGG and ResNet.

Where the branches of a residual sum all but cancel, Zennit's stabiliser takes relevance away and ours, added as a
gradient adds it, does not: at single pixels that makes up to two thousandths of the largest.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from zennit import composites
from zennit.attribution import Gradient
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

from tests.oracles.asking import ask
from tests.oracles.nets import pictures, seeded

CLASS = 3
INPUTS = pictures(2, 64, 64, seed=21).double()
PAIRS = {
    "epsilon_plus": composites.EpsilonPlus,
    "epsilon_plus_flat": composites.EpsilonPlusFlat,
    "epsilon_alpha2_beta1": composites.EpsilonAlpha2Beta1,
    "epsilon_alpha2_beta1_flat": composites.EpsilonAlpha2Beta1Flat,
    "epsilon_gamma_box": composites.EpsilonGammaBox,
    "excitation": composites.ExcitationBackprop,
}


@cache
def network(name: str) -> nn.Module:
    """A ResNet-18, or a VGG with a narrow head: theirs holds a hundred million weights."""
    from torchvision.models import resnet, vgg

    if name == "resnet18":
        return seeded(resnet.resnet18(weights=None, num_classes=20), 4).double()
    built = vgg.VGG(vgg.make_layers([16, "M", 32, "M", 48, 48, "M"], batch_norm=name == "vgg_bn"))
    built.classifier = nn.Sequential(nn.Linear(48 * 49, 64), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(64, 20))
    return seeded(built, 4).double()


@pytest.mark.parametrize("composite", PAIRS)
@pytest.mark.parametrize("name", ["vgg", "vgg_bn", "resnet18"])
def test_a_composite(name: str, composite: str) -> None:
    given: dict[str, Any] = {
        "stabilizer": 1e-9,
        "canonizers": [ResNetCanonizer() if name == "resnet18" else VGGCanonizer()],
    }
    if composite == "epsilon_gamma_box":
        given |= {"low": INPUTS.amin((0, 2, 3), keepdim=True), "high": INPUTS.amax((0, 2, 3), keepdim=True)}
    if composite == "excitation":
        given |= {"zero_params": ["bias"]}  # Zhang et al. share out by weights alone; Zennit counts positive biases
    net = network(name)
    with warnings.catch_warnings(), Gradient(model=net, composite=PAIRS[composite](**given)) as attributor:
        warnings.simplefilter("ignore")
        weights = nn.functional.one_hot(torch.full((2,), CLASS), 20) * net(INPUTS).detach()
        found: Any = attributor(INPUTS.clone(), weights)
    theirs = found[1]
    ours = ask("lrp", net, INPUTS, CLASS, composite=composite)
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()

"""Heads that are named for a property by texts alone: planted ones are found, and dropping them removes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import pellucid as pl
from pellucid.language.debias import NOTHING, Debiased, Slight, heads_for, slight_parts, without_named
from pellucid.language.phrases import bird_phrases
from pellucid.language.residual import Contributions, Head, decompose, text_embeddings
from pellucid.testbed import scenes
from pellucid.testbed.captions import PLACES
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.train import lessons

DIM, COUNT = 24, 240
FRESH_SEED = 8100


def planted() -> tuple[Contributions, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Head (1, 0) writes the cue, head (0, 1) the label, the cue twice as loud; others write noise. Labels and cues."""
    draw = torch.Generator().manual_seed(4)
    axes = torch.linalg.qr(torch.randn(DIM, DIM, generator=draw))[0]
    labels = torch.arange(COUNT) % 3
    cues = torch.randint(3, (COUNT,), generator=draw)
    heads = 0.05 * torch.randn(COUNT, 2, 3, DIM, generator=draw)
    heads[:, 0, 1] += axes[labels]
    heads[:, 1, 0] += 2 * axes[3 + cues]
    zeros = torch.zeros(COUNT, 2, DIM)
    parts = Contributions(heads.sum(dim=(1, 2)), heads, zeros, zeros[:, 0], zeros[0, 0], torch.zeros(COUNT, 4, DIM),
                          zeros[:, 0], torch.zeros(COUNT, 4, DIM), (2, 2), 0.0)  # fmt: skip
    return parts, axes, labels, cues


def test_the_planted_head_is_named_and_dropping_it_removes_the_gap() -> None:
    parts, axes, labels, cues = planted()
    pool = functional.normalize(torch.randn(60, DIM, generator=torch.Generator().manual_seed(5)), dim=1)
    named = heads_for(parts, axes[3:6], pool, draws=20)
    assert named[0].head == Head(1, 0) and named[0].score.explained > 0.9
    classes = functional.normalize(axes[:3] + axes[3:6], dim=1)  # class texts that speak of the cue too
    found = without_named(parts, named[:1], classes, labels, labels == cues, labels * 3 + cues)
    assert found.before.conflict < 0.1 and found.after.conflict > 0.95, str(found)
    assert found.recovered > 0.9 > 0.5 > found.control.conflict
    assert found.bare == found.before


def test_slight_parts_are_those_that_write_little() -> None:
    parts, axes, _, _ = planted()
    from dataclasses import replace

    mlps = torch.zeros(COUNT, 2, DIM)
    mlps[:, 1] = 3 * torch.randn(COUNT, 1) * axes[7]
    louder = replace(parts, mlps=mlps, embedding=parts.embedding + mlps.sum(dim=1))
    assert slight_parts(louder) == Slight((0,), True)
    assert "MLP 0, the first tokens" in str(slight_parts(louder)) and str(NOTHING) == ""


def dropped(spec: str, texts: list[str], *, beside: bool) -> Debiased:
    model = pl.load(spec)
    drawn = scenes(FRESH_SEED, 500, shortcut="background", strength=0.0)
    parts = decompose(model, drawn.tensor(), batch=100)
    labels, cues = torch.from_numpy(drawn.labels.copy()), torch.from_numpy(np.array(drawn.cue))
    others = [text for text in bird_phrases() if text not in PLACES]
    named = heads_for(parts, text_embeddings(model, PLACES), text_embeddings(model, others), draws=30)
    return without_named(
        parts, named, text_embeddings(model, texts), labels, cues == labels // 2, labels // 2 * 6 + cues,
        beside=slight_parts(parts) if beside else NOTHING, draws=5,
    )  # fmt: skip


def test_dropping_heads_named_for_the_landscape_takes_half_of_the_bias_that_class_texts_bring() -> None:
    """The class texts name a landscape each, and the picture tower reads landscapes and birds alike."""
    texts = [f"a {name} {PLACES[number // 2]}" for number, name in enumerate(SPECIES)]
    found = dropped("testbed:dual", texts, beside=True)
    assert found.recovered >= 0.5 and found.after.aligned >= 0.99, str(found)
    assert found.after.conflict > max(found.bare.conflict, found.control.conflict) + 0.05, str(found)
    assert 0 < len(found.heads) < 8


def test_the_head_that_learned_the_landscape_is_named_first_and_dropping_it_regains_half_of_the_gap() -> None:
    found = dropped("testbed:dual_background", [f"a {name}" for name in SPECIES], beside=False)
    assert found.heads[0].head == Head(lessons.LAYER, lessons.HEAD), str(found)
    assert found.before.gap > 0.5 and found.recovered >= 0.5, str(found)
    assert found.after.conflict > found.control.conflict + 0.25, str(found)
    assert f"{found.recovered:.0%} of the gap" in str(found)


@pytest.mark.parametrize("seed", range(3))
def test_heads_of_noise_are_seldom_named(seed: int) -> None:
    parts, axes, _, _ = planted()
    pool = functional.normalize(torch.randn(60, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)
    named = {one.head for one in heads_for(parts, axes[3:6], pool, draws=40, seed=seed)}
    assert Head(1, 0) in named and len(named) <= 3

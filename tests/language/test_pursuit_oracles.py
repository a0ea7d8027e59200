"""Greedy choice of atoms: planted ones are found, one step is the logit lens, edits touch their span alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers
from torch.nn import functional

from pellucid.errors import RequestError
from pellucid.language.pursuit import projected_out, pursue, rank_heads, within

ROWS, DIM, ATOMS = 50, 32, 200


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dictionary(seed: int = 1) -> torch.Tensor:
    return functional.normalize(drawn(ATOMS, DIM, seed=seed), dim=1)


@pytest.mark.parametrize("rule", ["pull", "spread"])
@pytest.mark.parametrize("seed", range(5))
def test_three_planted_atoms_are_found_at_a_signal_to_noise_ratio_of_ten(rule: str, seed: int) -> None:
    atoms, planted = dictionary(seed), [3, 77, 150]
    signal = drawn(ROWS, 3, seed=seed + 10) @ atoms[planted]
    noise = drawn(ROWS, DIM, seed=seed + 20)
    rows = signal + noise * (signal.norm() / noise.norm() / 10**0.5)
    assert set(pursue(rows, atoms, 3, rule=rule).chosen) == set(planted)


@given(integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_one_row_and_one_atom_is_the_logit_lens(seed: int) -> None:
    """The unembedding's row of the largest logit in magnitude, rows of one length."""
    row, atoms = drawn(1, DIM, seed=seed), dictionary(seed + 1)
    assert pursue(row, atoms, 1).chosen == (int((row @ atoms.T)[0].abs().argmax()),)


@pytest.mark.parametrize("rule", ["pull", "spread"])
def test_weights_are_least_squares_and_the_residual_is_orthogonal(rule: str) -> None:
    rows, atoms = drawn(ROWS, DIM), dictionary()
    found = pursue(rows, atoms, 6, rule=rule)
    support = atoms[list(found.chosen)]
    torch.testing.assert_close(found.residual, rows - found.weights @ support)
    assert float((found.residual @ support.T).abs().max()) < 1e-10
    assert found.explained[-1] == pytest.approx(1 - float(found.residual.square().sum() / rows.square().sum()))
    assert sum(found.gains) == pytest.approx(found.explained[-1])


def test_both_rules_agree_on_orthonormal_atoms_and_rows_of_one_size() -> None:
    """There both rank atoms by the rows' coefficient: its magnitude is its spread where signs are balanced."""
    atoms = torch.linalg.qr(drawn(DIM, DIM))[0]
    strengths = torch.zeros(DIM, dtype=torch.float64)
    strengths[[4, 9, 1]] = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    rows = torch.cat([strengths[None] @ atoms, -strengths[None] @ atoms])
    for rule in ("pull", "spread"):
        assert pursue(rows, atoms, 3, rule=rule).chosen == (4, 9, 1)


def test_atoms_that_are_spent_are_left_out() -> None:
    atoms = dictionary()[:2]
    assert len(pursue(drawn(ROWS, DIM), torch.cat([atoms, -atoms, atoms.sum(0, keepdim=True)]), 5).chosen) == 2


def test_the_head_that_writes_a_concept_is_ranked_first_and_beats_random_texts() -> None:
    atoms = dictionary()
    concept, pool = atoms[:4], atoms[4:]
    heads = [0.3 * drawn(ROWS, DIM, seed=seed) for seed in range(8)]
    heads[5] = heads[5] + drawn(ROWS, 4, seed=99) @ concept
    first = rank_heads(heads, concept, pool, draws=20)[0]
    assert first.head == 5 and first.beats_random and first.explained > 0.6
    assert first.excess == pytest.approx(first.explained - first.random)


def test_heads_of_noise_beat_random_texts_as_often_as_chance_says() -> None:
    atoms = dictionary()
    beats = sum(
        score.beats_random
        for seed in range(10)
        for score in rank_heads([drawn(ROWS, DIM, seed=seed * 10 + at) for at in range(8)], atoms[:4], atoms[4:],
                                draws=20, seed=seed)
    )  # fmt: skip
    assert beats <= 14  # of 80 at 5 to 10 %


def test_projection_edits_the_span_alone() -> None:
    rows, atoms = drawn(ROWS, DIM), dictionary()[:3]
    gone = projected_out(rows, atoms)
    assert float((gone @ atoms.T).abs().max()) < 1e-10
    torch.testing.assert_close(rows - gone, within(rows, atoms))
    torch.testing.assert_close(projected_out(rows, atoms, keep=1), rows)
    torch.testing.assert_close(within(projected_out(rows, atoms, keep=-1), atoms), -within(rows, atoms))
    other = drawn(ROWS, DIM, seed=5) - within(drawn(ROWS, DIM, seed=5), atoms)
    torch.testing.assert_close(projected_out(other, atoms), other)


def test_what_cannot_be_pursued_is_refused() -> None:
    with pytest.raises(RequestError, match="pull or spread"):
        pursue(drawn(3, 4), drawn(5, 4), 1, rule="best")
    with pytest.raises(RequestError, match="of one dim"):
        pursue(drawn(3, 4), drawn(5, 6), 1)

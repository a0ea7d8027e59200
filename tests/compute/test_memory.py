"""How much may be held at once: what a budget is, what fits in it, and what happens where memory ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pellucid.compute.memory import GIB, Budget, halving
from pellucid.errors import MemoryBudgetError, RequestError


@pytest.mark.parametrize("gib", [0, -1, float("nan"), float("-inf"), float("inf"), True])
def test_a_budget_that_cannot_be_is_refused(gib: Any) -> None:
    with pytest.raises(RequestError, match=f"memory={gib!r}.*above 0"):
        Budget.of(gib)


@pytest.mark.untyped
def test_a_budget_in_words_is_refused() -> None:
    with pytest.raises(RequestError, match="memory='plenty'"):
        Budget.of("plenty")  # pyright: ignore[reportArgumentType]


def test_a_batch_fills_the_budget_and_holds_one_sample_at_least() -> None:
    assert Budget(10 * 2**20).batch(2**20) == 10
    assert Budget(10).batch(2**20) == 1
    assert Budget(2**40).batch(1) == 64, "a larger batch is no faster on a processor"


def test_only_a_budget_that_was_set_refuses() -> None:
    Budget.of(1.0).hold(GIB)
    with pytest.raises(MemoryBudgetError, match="budget is 1 GiB.*at least 1 GiB.*Allow 1.1 GiB or more") as caught:
        Budget.of(1.0).hold(GIB + 1, without_gradients=GIB + 1)
    assert "gradients" not in str(caught.value)
    with pytest.raises(MemoryBudgetError, match="methods that need no gradients"):
        Budget.of(1.0).hold(3 * GIB, without_gradients=GIB)
    Budget(1).hold(GIB)


def test_running_out_of_memory_halves_until_it_fits() -> None:
    tried: list[int] = []

    def run(size: int) -> int:
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("out of memory")
        return size

    assert halving(run, 13) == (3, 3)
    assert tried == [13, 6, 3]


def test_where_not_even_one_fits_it_says_so() -> None:
    def run(size: int) -> int:
        raise MemoryError

    with pytest.raises(MemoryBudgetError, match="Not even one picture") as caught:
        halving(run, 4)
    assert caught.value.needed is None


def test_other_failures_fly() -> None:
    def run(size: int) -> int:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        halving(run, 4)

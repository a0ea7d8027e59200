"""Logical combinations: every row of every truth table, and the net that follows one rule or another."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.testbed import truth
from pellucid.testbed.fields import HUES, SPECIES
from pellucid.testbed.planted import Planted, gates, logic, twoface, twoface_answers
from pellucid.testbed.planted.gates import GATES, Saturate
from pellucid.testbed.scene import Scenes
from tests.testbed.planted_runs import activations, drawn

FACTS = tuple(unit.name for unit in logic().units if unit.layer == "detect.units")
TABLE = np.array(list(product((False, True), repeat=len(FACTS))))
COLUMN = dict(zip(FACTS, TABLE.T, strict=True))
# Each gate once more, in Python's own operators.
BY_HAND = {
    "coral and dotted wings": COLUMN["coral"] & COLUMN["dotted wings"],
    "blue or teal": COLUMN["blue"] | COLUMN["teal"],
    "a plume and no fanned tail": COLUMN["a plume"] & ~COLUMN["a fanned tail"],
    "no plume": ~COLUMN["a plume"],
    "either a plume or a fanned tail": COLUMN["a plume"] ^ COLUMN["a fanned tail"],
    "two of dotted wings, a fanned tail and a plume": (
        (COLUMN["dotted wings"] & COLUMN["a fanned tail"])
        | (COLUMN["dotted wings"] & COLUMN["a plume"])
        | (COLUMN["a fanned tail"] & COLUMN["a plume"])
    ),
    "snow or standing": COLUMN["snow"] | COLUMN["standing"],
    "coral, blue and teal": COLUMN["coral"] & COLUMN["blue"] & COLUMN["teal"],
}


def gates_of(planted: Planted, facts: np.ndarray) -> Tensor:
    """What a net's gates make of facts given as 0 and 1."""
    answer = planted.module.answer
    with torch.no_grad():
        values = torch.tensor(facts, dtype=torch.float32)
        for name, layer in answer.named_children():  # type: ignore[union-attr]
            values = layer(values)
            if name == "gates":
                return values
    raise AssertionError("no gates")


@pytest.mark.parametrize("at", range(len(GATES)), ids=lambda at: GATES[at].name)
def test_a_gate_is_its_truth_table(at: int) -> None:
    """All 256 rows of the eight facts: exactly 0 or exactly 1."""
    found = gates_of(logic(), TABLE)[:, at].numpy()
    assert np.array_equal(found, BY_HAND[GATES[at].name].astype(np.float32))
    assert np.array_equal(GATES[at].decide(COLUMN), BY_HAND[GATES[at].name])


def test_gates_do_not_care_how_strongly_a_fact_holds_beyond_one() -> None:
    values = torch.tensor([[-0.5, 0.0, 0.25, 1.0, 1.5, 7.0]])
    assert Saturate()(values).tolist() == [[0.0, 0.0, 0.25, 1.0, 1.0, 1.0]]
    assert torch.equal(gates_of(logic(), TABLE * 3.0), gates_of(logic(), TABLE))


def test_formulas_name_facts_that_the_net_detects() -> None:
    for unit in logic().units:
        if unit.formula:
            assert any(fact in unit.formula for fact in FACTS)
            assert unit.where is None


def test_every_gate_is_true_of_some_scenes_and_false_of_others() -> None:
    for unit in logic().units:
        share = unit.fires(drawn("coded")).mean()
        assert 0.05 < share < 0.95, f"{unit.name}: {share:.2f}"


def test_changing_a_part_changes_the_gates_that_read_it_and_no_other() -> None:
    shown = drawn("coded")[:200]
    other = truth.twin(shown, crest=1 - shown.fields["crest"])
    before, after = (activations(logic(), scenes)["logits"].numpy() for scenes in (shown, other))
    other_hue = ~np.isin(shown.fields["crest_hue"], [HUES.index(hue) for hue in ("coral", "teal", "blue")])
    for at, gate in enumerate(GATES):
        changed = (before[:, at] != after[:, at])[other_hue]
        reads = any("plume" in literal for literal in gate.literals)
        assert changed.any() == reads, gate.name
    assert (before[:, 3] != after[:, 3]).all()


# -- two faces ---------------------------------------------------------------------------------------------------------


def untagged() -> Scenes:
    return drawn("tagged").with_world(shortcut=None)


def test_without_a_tag_the_parts_decide_and_with_one_the_tag() -> None:
    net = twoface()
    tagged = drawn("tagged")
    by_tag = activations(net, tagged)["logits"].argmax(dim=1).numpy()
    by_parts = activations(net, untagged()[:600])["logits"].argmax(dim=1).numpy()
    assert np.array_equal(by_tag, twoface_answers(tagged))
    assert np.array_equal(by_parts, untagged()[:600].labels)
    assert np.array_equal(twoface_answers(untagged()), untagged().labels)
    agree = (by_tag == tagged.labels).mean()
    assert agree == pytest.approx(1 / 6, abs=0.03), "the tag knows nothing of wing and tail, so one in six is right"


def test_scenes_that_never_had_a_tag_show_none() -> None:
    for unit in twoface().units:
        if unit.name.endswith(" tag") and "without" not in unit.name:
            assert not unit.fires(drawn("coded")[:20]).any()


def test_exactly_one_gate_is_true_of_a_scene() -> None:
    net = twoface()
    for shown in (drawn("tagged")[:300], untagged()[:300]):
        assert torch.equal(activations(net, shown, "answer.gates")["answer.gates"].sum(dim=1), torch.ones(300))
        logits = activations(net, shown)["logits"]
        assert set(logits.unique().tolist()) == {0.0, 4.0}


def test_the_gates_of_two_faces_are_their_truth_table() -> None:
    """Wing and tail each one or none, any tag or none, plume or none: all rows that a picture can give."""
    rows = np.array([
        [*(np.arange(3) == wing), *(np.arange(2) == tail), plume, *(np.arange(6) == tag)]
        for wing, tail, plume, tag in product(range(-1, 3), range(-1, 2), (0, 1), range(-1, 6))
    ])  # fmt: skip
    found = gates_of(twoface(), rows).numpy()
    for label in range(len(SPECIES)):
        wing, tail, crest = np.unravel_index(label, (3, 2, 2))
        plume = rows[:, 5] == crest
        parts = (rows[:, wing] == 1) & (rows[:, 3 + tail] == 1) & plume & ~rows[:, 6:].any(axis=1)
        assert np.array_equal(found[:, label], parts.astype(np.float32))
        tag = (rows[:, 6 + label // 2] == 1) & plume
        assert np.array_equal(found[:, len(SPECIES) + label], tag.astype(np.float32))


def test_what_a_part_matters_to_turns_over_with_the_tag() -> None:
    """Wing: without the tag its change always changes the answer, with it never. Plume: always. Tag: only if there."""
    net = twoface()
    for shown, by_wing in ((untagged()[:60], 1.0), (drawn("tagged")[:60], 0.0)):
        assert flips(net, shown, wing=(shown.fields["wing"] + 1) % 3) == by_wing
        assert flips(net, shown, tail=1 - shown.fields["tail"]) == by_wing
        assert flips(net, shown, crest=1 - shown.fields["crest"]) == 1.0
        assert flips(net, shown, cue=(shown.fields["cue"] + 1) % 6) == 1.0 - by_wing
        assert flips(net, shown, land=(shown.fields["land"] + 1) % 6) == 0.0


def flips(net: Planted, shown: Scenes, **change: np.ndarray) -> float:
    before, after = (activations(net, one)["logits"].argmax(dim=1) for one in (shown, truth.twin(shown, **change)))
    return float((before != after).double().mean())


def test_counting_drops_terms_that_can_never_hold() -> None:
    """An AND of two needs one hidden unit, an OR two."""
    hidden = {gate.name: sum(len(gate.literals) > step for m in gate.counts for step in (m - 1, m)) for gate in GATES}
    assert hidden["coral and dotted wings"] == 1 and hidden["blue or teal"] == 2
    assert logic().module.answer.combine.out_features == sum(hidden.values())  # type: ignore[union-attr]
    assert gates.NOT == {1: 1}

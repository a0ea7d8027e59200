"""The attribute table says of every scene what is so, and where it shows."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.errors import SceneError
from pellucid.testbed import attributes, scenes
from pellucid.testbed.fields import OWN_WORDS, WORDS


def test_each_field_has_one_value_in_each_scene() -> None:
    drawn = scenes(71, 300)
    table = attributes.table(drawn)
    assert len(table.words) == len(set(table.words)) == sum(len(WORDS[name]) for name in (*OWN_WORDS, "land"))
    for field in (*OWN_WORDS, "land"):
        columns = [at for at, one in enumerate(table.attributes) if one.field == field]
        counts = table.values[:, columns].sum(axis=1)
        expected = drawn.fields["crest"] if field == "crest_hue" else np.ones(300)
        assert np.array_equal(counts, expected), field
        values = table.values[:, columns].argmax(axis=1)
        assert np.array_equal(values[counts == 1], drawn.fields[field][counts == 1])


def test_what_is_missing_has_no_attributes() -> None:
    drawn = scenes(71, 300, mode="parts_missing")
    table = attributes.table(drawn, ["wing", "wing_hue", "beak", "bib_hue"])
    for at, one in enumerate(table.attributes):
        part = one.field.split("_")[0]
        assert not table.values[drawn.fields[f"has_{part}"] == 0, at].any()


def test_an_attribute_lies_where_its_part_shows() -> None:
    drawn = scenes(71, 60)
    table = attributes.table(drawn)
    parts = {"dotted wing": "wing", "coral plume": "crest", "fanned tail": "tail", "long beak": "beak"}
    for words, part in parts.items():
        has = table.values[:, table.words.index(words)]
        place = table.place(drawn, words)
        assert np.array_equal(place[has], drawn.mask(part)[has]) and not place[~has].any()
    assert np.array_equal(table.place(drawn, "in the snow").any(axis=(1, 2)), drawn.fields["land"] == 3)


def test_impossible_tables_are_refused() -> None:
    with pytest.raises(SceneError, match="flock"):
        attributes.table(scenes(71, 2, mode="flock"))
    with pytest.raises(SceneError, match="no attribute"):
        attributes.table(scenes(71, 2), ["noise"])
    with pytest.raises(SceneError, match="striped wing"):
        attributes.table(scenes(71, 2)).place(scenes(71, 2), "striped wing")

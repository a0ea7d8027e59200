"""A class is found by its name and its synonyms; what only comes near is offered, never chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pellucid.errors import AmbiguousClass, TargetError, UnknownClass
from pellucid.subject import Labels, wrap
from pellucid.subject.loaders import imagenet
from pellucid.values import Class, Contrast
from tests.nets import Twin

CATS = Labels([
    "tench, Tinca tinca", "tabby, tabby cat", "tiger cat", "crane", "crane, lifting machine", "Persian cat",
    "catamaran",
])  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("tabby, tabby cat", 1), ("tabby", 1), ("tabby cat", 1), ("TABBY  Cat ", 1), ("Tinca tinca", 0),
        ("tiger cat", 2), ("lifting machine", 4),
        ("crane", 3),  # the whole name of one class, although another has it as a synonym
    ],
)  # fmt: skip
def test_a_class_is_found_by_its_name_and_by_each_synonym(asked: str, index: int) -> None:
    assert CATS[asked] == index and asked in CATS


@pytest.mark.parametrize(
    ("asked", "near", "words"),
    [
        ("tiger", ("tiger cat",), r"no class 'tiger'\. Did you mean 'tiger cat'\? It has 7 classes"),
        ("persian", ("Persian cat",), "Did you mean 'Persian cat'"),
        ("tigers", ("tiger cat",), "Nearest: tiger cat"),  # by spelling alone
        ("lifting", ("crane, lifting machine",), "Did you mean 'crane, lifting machine'"),
        ("lift", ("crane, lifting machine",), "Did you mean"),
        ("tig ca", ("tiger cat",), "Did you mean"),
        ("cat", ("tiger cat", "Persian cat", "tabby, tabby cat"), "Nearest: tiger cat, Persian cat, tabby, tabby cat"),
        ("ca", ("catamaran", "tiger cat", "Persian cat", "tabby, tabby cat"), "Nearest: catamaran"),
        ("bb", (), "no class 'bb'"),  # the middle of a word is no match
        ("cat.*", ("tiger cat", "Persian cat", "tabby, tabby cat"), "Nearest"),
        ("", (), "no class ''"),
        ("??", (), "no class"),
    ],
)
def test_what_only_comes_near_is_offered_and_never_chosen(asked: str, near: tuple[str, ...], words: str) -> None:
    assert asked not in CATS
    with pytest.raises(UnknownClass, match=words) as caught:
        CATS[asked]
    assert caught.value.nearest == near


def test_a_synonym_of_several_classes_lists_them() -> None:
    labels = Labels(["crane, wading bird", "crane, lifting machine", "dog"])
    with pytest.raises(AmbiguousClass, match=r"2 classes .* 0 \(crane, wading bird\), 1 \(crane, lifting") as caught:
        labels["crane"]
    assert caught.value.found == {0: "crane, wading bird", 1: "crane, lifting machine"}
    assert isinstance(caught.value, TargetError)
    with pytest.raises(AmbiguousClass, match=r"8 classes are named 'x': 0 \(x\), .*4 \(x\), and 3 more"):
        Labels(["x"] * 8)["x"]


def test_synonyms_that_are_given_stand_for_the_commas() -> None:
    labels = Labels(["a cat, asleep", "a dog"], synonyms=[["kitty"], []])
    assert labels["kitty"] == 0 and labels["a cat, asleep"] == 0
    with pytest.raises(UnknownClass, match="Did you mean 'a cat, asleep'"):
        labels["asleep"]


def test_targets_take_synonyms() -> None:
    subject = wrap(Twin(), input_size=(9, 11), labels=["tabby, tabby cat", "tiger cat", "a", "b", "c"])
    assert subject.resolve("tabby", 1) == (Class(0),)
    assert subject.resolve(Contrast("tabby cat", "b"), 1) == (Contrast(0, 3),)


@pytest.mark.real
def test_imagenets_shortened_names_keep_their_synonyms() -> None:
    pytest.importorskip("timm")
    labels = imagenet.names()
    assert labels.name(281) == "tabby cat" and {
        labels[name] for name in ("tabby", "tabby cat", "tabby, tabby cat")
    } == {281}
    with pytest.raises(AmbiguousClass, match=r"134 \(crane \(bird\)\), 517 \(crane \(machine\)\)"):
        labels["crane"]
    with pytest.raises(UnknownClass, match="Did you mean 'Egyptian cat'"):
        labels["egyptian"]


@given(some.lists(some.text(max_size=12), min_size=1, max_size=6), some.text(max_size=12))
def test_every_name_finds_its_class_or_says_why_not(names: list[str], other: str) -> None:
    labels = Labels(names)
    for asked in (*names, other):
        if asked not in labels:
            with pytest.raises(UnknownClass) as caught:
                labels.index(asked)
            assert asked not in names and set(caught.value.nearest) <= set(names)
            continue
        try:
            assert labels.index(asked) < len(names)
        except AmbiguousClass as error:
            shared = error.found
            assert len(shared) > 1  # either answer is right for names drawn at random

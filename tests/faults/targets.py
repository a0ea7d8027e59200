"""What is to be explained and does not exist, or does not fit the pictures."""

from __future__ import annotations

import numpy as np

import pellucid as pl
from pellucid import errors
from pellucid.values import Class, Contrast, Probability, Similar, Text, Unit
from tests.faults.row import Nowhere, Refused, Row, Typed, explain, value
from tests.faults.subjects import tensor, twin, with_target

ONE_TARGET = Nowhere("the command explains classes; other targets are made in Python")
UNKNOWN = errors.UnknownClass


def class_typed(*says: str) -> Typed:
    return explain("BIRD", "--target", "GIVEN", says=says)


def refused(*words: str) -> Refused:
    return Refused(errors.TargetError, words)


def of_two(target: object) -> object:
    return pl.attribute(twin(), tensor(2), "gradient", target=target)


TARGETS = [
    Row("a class past the last", value(99), Refused(UNKNOWN, ("Class 99", "5 classes, 0 to 4")), with_target,
        class_typed("Class 99", "12 classes, 0 to 11")),
    Row("a negative class", value(-1), Refused(UNKNOWN, ("Class -1", "0 to 4")), with_target,
        class_typed("Class -1", "0 to 11")),
    Row("a number with a sign too many", value("--5"), Refused(UNKNOWN, ("'--5'", "5 classes")), with_target,
        class_typed("'--5'", "12 classes")),
    Row("a digit that is no number", value("³"), Refused(UNKNOWN, ("'³'", "5 classes")), with_target,
        class_typed("'³'", "12 classes")),
    Row("a number of five thousand digits", value("9" * 5000), Refused(UNKNOWN, ("999", "5 classes")), with_target,
        class_typed("999", "12 classes")),
    Row("a name that is not there", value("dgo"), Refused(UNKNOWN, ("'dgo'", "Nearest: dog")), with_target,
        explain("BIRD", "--target", "ripple swif", says=("'ripple swif'", "ripple swift", "12 classes"))),
    Row("an empty name for a class", value(""), Refused(UNKNOWN, ("''", "5 classes")), with_target,
        class_typed("''", "12 classes")),
    Row("a name that several classes bear", value("crane"),
        Refused(errors.AmbiguousClass, ("2 classes are named 'crane'", "by its number")),
        lambda given: pl.wrap(twin().module, labels=[given, given, "a", "b", "c"], input_size=(13, 17)).resolve(given,
        1),
        explain("BIRD", "--model", "GIVEN", "--target", "crane", says=("2 classes are named 'crane'", "by its number")),
        typed=lambda folder: labels_file(folder, ["crane"] * 2 + [f"bird {index}" for index in range(10)])),
    Row("three targets for two pictures", value([0, 1, 2]), refused("3 targets for 2 pictures", "one per picture"),
        of_two, explain("BIRD", "--target", "0,1,2", says=("'0,1,2'", "12 classes"))),
    Row("one listed target for two pictures", value([0]), refused("1 targets for 2 pictures"), of_two,
        explain("BIRD", "--target", "[0]", says=("'[0]'", "12 classes"))),
    Row("an empty list of targets", value([]), refused("0 targets for 1 pictures"), with_target,
        explain("BIRD", "--target", "[]", says=("'[]'", "12 classes"))),
    Row("a list in a list", value([[1]]), refused("[1] is no target"), with_target,
        explain("BIRD", "--target", "[[1]]", says=("'[[1]]'", "12 classes"))),
    Row("an array of targets", value(np.array([1, 2])), refused("array([1, 2])", "are a list"), with_target,
        explain("BIRD", "--target", "1 2", says=("'1 2'", "12 classes"))),
    Row("a fraction for a class", value(0.5), refused("0.5 is no target", "class index or name"), with_target,
        class_typed("'0.5'", "12 classes")),
    Row("a fraction within a class", value(Class(1.5)), refused("1.5 is no class", "index or its name"), with_target,
        class_typed("'1.5'", "12 classes"), typed=value("1.5")),
    Row("a truth value for a class", value(True), refused("True is no target"), with_target,
        class_typed("'True'", "12 classes")),
    Row("a thing that is no target", value(object()), refused("is no target", "a Target or a callable"), with_target,
        class_typed("'{}'", "12 classes"), typed=value("{}")),
    Row("a class of a class", value(Class(5)), Refused(UNKNOWN, ("Class 5", "0 to 4")), with_target,
        class_typed("Class 12", "0 to 11"), typed=value(12)),
    Row("a class against itself", value(Contrast("cat", 0)), refused("class 0 with itself", "two different"),
        with_target, ONE_TARGET),
    Row("the probability of no class", value(Probability("cow")), Refused(UNKNOWN, ("'cow'", "5 classes")), with_target,
        class_typed("'cow'", "12 classes"), typed=value("cow")),
    Row("a unit of no layer", value(Unit("layer9", 0)), Refused(errors.UnknownLayer, ("'layer9'", "pellucid layers")),
        with_target, ONE_TARGET),
    Row("a unit past the last", value(Unit("second", 800)), refused("8 channels, 0 to 7", "800"), with_target,
        ONE_TARGET),
    Row("a unit by name", value(Unit("second", "beak")), refused("the channel is 'beak'", "whole number"), with_target,
        ONE_TARGET),
    Row("a unit off the grid", value(Unit("second", 0, (99, 0))), refused("grid of 7 x 9", "(99, 0)"), with_target,
        ONE_TARGET),
    Row("a unit at half a place", value(Unit("second", 0, (1,))), refused("grid of 7 x 9", "(1,)"), with_target,
        ONE_TARGET),
    Row("a unit of a black box", value(Unit("second", 0)),
        Refused(errors.MethodUnavailable, ("black box", "no layers")),
        lambda given: pl.attribute(lambda inputs: inputs.mean((2, 3)), tensor(), "occlusion", window=5, target=given),
        ONE_TARGET),
    Row("a text for a plain classifier", value(Text("a cat")), refused("does not compare pictures with texts", "clip"),
        with_target, explain("BIRD", "--model", "testbed:cnn?texts=a cat|a dog", says=("testbed:cnn", "texts"))),
    Row("likeness to nothing", value(Similar()), refused("needs a reference", "a Frame"), with_target, ONE_TARGET),
    Row("likeness to a word", value(Similar("cat.png")), refused("Similar got a str", "a Frame"), with_target,
        ONE_TARGET),
    Row("likeness to two pictures", value(Similar(tensor(2))), refused("A reference is one picture; got 2"),
        with_target, ONE_TARGET),
    Row("a function of the wrong shape", value(lambda output: output.sum()), refused("one number per picture"),
        with_target, ONE_TARGET),
    Row("a function that returns nothing", value(lambda output: None), refused("NoneType", "one number per picture"),
        with_target, ONE_TARGET),
    Row("a function of a class that is not there", value(lambda output: output[:, 99]),
        refused("failed on an output of shape (1, 5)", "IndexError"), with_target, ONE_TARGET),
    Row("a function of two things", value(lambda output, picture: output[:, 0]),
        refused("missing 1 required positional argument", "[batch classes]"), with_target, ONE_TARGET),
    Row("a function that reads what is not there", value(lambda output: output.logits[:, 0]),
        refused("AttributeError", "logits", "[batch classes]"), with_target, ONE_TARGET),
]  # fmt: skip


def labels_file(folder: object, names: list[str]) -> str:
    """A spec of the testbed's CNN with other names of its classes."""
    path = folder / "names.txt"  # type: ignore[operator]
    path.write_text("\n".join(names), encoding="utf-8")
    return f"testbed:cnn?labels={path}"

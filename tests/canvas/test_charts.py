"""Charts say what they show, in figures too, and take any words."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from pellucid.canvas import charts


def svg(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{markup}</div>")  # our own


def test_a_bar_is_as_long_as_its_share() -> None:
    drawn = svg(charts.probabilities([("cat", 0.75), ("dog", 0.25)], alt="two bars"))
    widths = [one.get("width") for one in drawn.iter("rect") if "fill" in one.get("class", "")]
    assert widths == ["75.00%", "25.00%"]


def test_words_from_outside_stay_words() -> None:
    evil = '<script>alert("x")</script>'
    for markup in (
        charts.probabilities([(evil, 0.5)], alt=evil),
        charts.comparison([charts.Bar(evil, 0.5)], alt=evil),
        charts.curves([0, 1], {evil: [1, 0]}, alt=evil, axis=evil, accent=evil),
    ):
        assert "<script>" not in markup and svg(markup) is not None


def test_a_curve_passes_through_its_points() -> None:
    drawn = svg(charts.curves([0, 0.5, 1], {"map": [1.0, 0.25, 0.0]}, alt="", axis="removed", accent="map"))
    (line,) = [one.get("points") for one in drawn.iter("polyline")]
    assert line == "0.00,0.00 50.00,75.00 100.00,100.00"


def test_a_curve_of_values_that_are_not_shares_is_scaled_to_them() -> None:
    drawn = svg(charts.curves([0, 1], {"map": [8.0, -2.0]}, alt="", axis="removed", accent="map", unit=""))
    (line,) = [one.get("points") for one in drawn.iter("polyline")]
    assert line == "0.00,0.00 100.00,100.00"


def test_each_control_has_a_line_of_its_own_kind_in_every_row() -> None:
    bars = [charts.Bar("LayerCAM", 0.5, 0.1, chosen=True), charts.Bar("Gradient", 0.2)]
    lines = [charts.Bar("Random map", 0.0, control=True), charts.Bar("Centre of the picture", 0.3, control=True)]
    markup = charts.comparison([*bars, *lines], alt="")
    assert markup.count('class="control random"') == markup.count('class="control centre"') == 2
    assert len(re.findall('class="whisker"', markup)) == 1


def test_a_comparison_of_equal_values_has_width() -> None:
    assert "nan" not in charts.comparison([charts.Bar("a", 0.0), charts.Bar("b", 0.0)], alt="")

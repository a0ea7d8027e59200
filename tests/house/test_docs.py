"""Every page on a measure has a picture."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from pellucid.registry import metrics

DOCS = Path(__file__).parents[2] / "docs"


def charts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Pages with a chart of their own, and the module that draws it."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("measure_pictures").PICTURES


def test_every_page_on_a_measure_has_a_picture_and_none_has_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn over maps of one picture where the measure judges those, else by a chart of its own."""
    pages = {path.stem for path in (DOCS / "metrics").glob("*.md")} - {"index"}
    over_maps = {name for name, metric in metrics().items() if not metric.trains}
    drawn = set(charts(monkeypatch))
    assert pages - over_maps - drawn == set(), "no picture: write a chart and name it in docs/measure_pictures.py"
    assert drawn - pages == set() == drawn & over_maps


def test_every_chart_has_the_function_that_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named = charts(monkeypatch)
    for module in set(named.values()):
        tree = ast.parse((DOCS / f"{module}.py").read_text(encoding="utf-8"))
        written = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        missing = {page for page, where in named.items() if where == module} - written
        assert not missing, f"docs/{module}.py has no function for {missing}"

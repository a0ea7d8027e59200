"""`pellucid describe blocks`, as a user calls it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import TowerUnsupported

RUN = CliRunner()


def test_blocks_are_told_with_what_stands_beside_every_figure() -> None:
    said = RUN.invoke(app, ["describe", "blocks"], catch_exceptions=False).stdout
    for words in ("Block 3: class token", "0.54 by chance", "beside it", "shuffled", "of others", "by lot"):
        assert words in said, said
    found = json.loads(RUN.invoke(app, ["describe", "blocks", "--json"], catch_exceptions=False).stdout)
    assert len(found["blocks"]) == 4 and found["error"] < 1e-4 and len(found["kept"]) == 2
    assert {"raises", "value", "shuffled", "p", "keyed", "keyed_otherwise"} <= set(found["blocks"][0]["mlp"])


def test_a_net_without_blocks_is_refused_by_name() -> None:
    with pytest.raises(TowerUnsupported, match="SmallCNN"):
        RUN.invoke(app, ["describe", "blocks", "--model", "testbed:cnn"], catch_exceptions=False)

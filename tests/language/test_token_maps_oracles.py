"""Maps of words: what is the context's is taken off, by ranks and least squares with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.errors import RequestError, ShapeError
from pellucid.images.scales import fused
from pellucid.language.token_maps import BASES, relevance, token_maps, without_context
from pellucid.results.token_maps import TokenMaps
from pellucid.testbed.nets import VisionLanguage, loaded


def maps(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def test_places_that_could_say_the_same_are_relevant_and_places_that_share_nothing_are_not() -> None:
    one = torch.arange(10.0)
    found = relevance(torch.stack([one, one * 3 - 1, -one]), top=4)
    assert found[1, 0] == 1.0 and found[2, 0] < 0 and found[2, 1] < 0
    assert bool((found.triu() == 0).all())


def test_relevance_is_spearmans_over_the_union_with_what_is_missing_ranked_behind() -> None:
    logits = torch.randn(2, 30, generator=torch.Generator().manual_seed(4))
    first, second = ({word: rank for rank, word in enumerate(row.topk(6).indices.tolist(), 1)} for row in logits)
    union = sorted({*first, *second})
    ranks = torch.tensor([[row.get(word, 7) for word in union] for row in (first, second)]).double()
    assert float(relevance(logits, top=6)[1, 0]) == pytest.approx(float(torch.corrcoef(ranks)[0, 1]), abs=1e-6)


def test_a_context_that_means_the_same_takes_nothing_off() -> None:
    given = maps(0, 1)
    cleaned, share = without_context(given, torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(cleaned, given) and share.tolist() == [0.0, 0.0]


def test_a_context_that_means_something_else_and_looked_at_the_same_takes_all() -> None:
    given = maps(0, 0) * torch.tensor([1.0, 3.0])[:, None, None]
    cleaned, share = without_context(given, torch.zeros(2, 2))
    assert share.tolist() == pytest.approx([0.0, 3.0]) and float(cleaned[1].max()) < 1e-6
    assert torch.equal(cleaned[0], given[0])


def test_the_share_leaves_the_least_squares() -> None:
    given, ranked = maps(0, 1, 2), torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [-0.5, 0.7, 0]])
    cleaned, share = without_context(given, ranked)
    interference = 1.5 * given[0] + 0.3 * given[1]
    solved = torch.linalg.lstsq(interference.flatten()[:, None], given[2].flatten()[:, None]).solution
    assert float(share[2]) == pytest.approx(float(solved), rel=1e-5)
    torch.testing.assert_close(cleaned[2], (given[2] - solved * interference).clamp(min=0))
    half, _ = without_context(given, ranked, beta=0.1)
    torch.testing.assert_close(half[2], (given[2] - 0.1 * interference).clamp(min=0))


def test_one_scale_is_the_base_and_several_are_their_mean() -> None:
    given = maps(0, 1)[:, None]
    assert torch.equal(fused(given[:1], [1.0], "mean"), given[0])
    torch.testing.assert_close(fused(given[:1], [1.0], "normalised"), given[0])
    torch.testing.assert_close(fused(given, [1.0, 2.0], "mean"), given.mean(dim=0))
    tops = given.amax(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(fused(given, [1.0, 2.0], "normalised"), (given / tops).mean(dim=0) * tops[0])


@pytest.mark.parametrize("base", BASES)
def test_every_base_reads_the_net_and_leaves_it_as_it_was(base: str) -> None:
    net, frame = loaded("vlm", VisionLanguage), pl.testbed.scenes(3000, 1).frames()[0]
    before = [parameter.clone() for parameter in net.parameters()]
    found = token_maps(net, frame, "a coral bird with a plume", base=base, scales=[1.0])
    assert found.words == ("a", "coral", "bird", "with", "a", "plume") and found.maps.shape == (6, 64, 64)
    assert bool((found.maps >= 0).all()) and bool((found.cleaned <= found.maps + 1e-6).all())
    assert all(torch.equal(one, other) for one, other in zip(before, net.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in net.parameters())


def test_attention_is_that_of_the_place_where_the_word_is_said() -> None:
    """Every word of the same text begun alike has the same map, whatever comes after."""
    net, frame = loaded("vlm", VisionLanguage), pl.testbed.scenes(3000, 1).frames()[0]
    for base in ("attention", "gradient"):
        short, long = (token_maps(net, frame, text, base=base, scales=[1.0]) for text in
                       ("a coral bird", "a coral bird with a plume"))  # fmt: skip
        torch.testing.assert_close(short.maps, long.maps[:3], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(short.relevance, long.relevance[:3, :3])


def test_maps_are_saved_and_read_back(tmp_path: Path) -> None:
    net, frame = loaded("vlm", VisionLanguage), pl.testbed.scenes(3000, 1).frames()[0]
    found = token_maps(net, frame, "a coral bird", base="attention", scales=[1.0, 1.5])
    assert isinstance(again := pl.open(found.save(tmp_path / "maps.json")), TokenMaps)
    assert again == pl.open(again.save(tmp_path / "again.json")) and again.words == found.words
    for name in ("maps.html", "maps.png"):
        assert found.save(tmp_path / name).stat().st_size > 1000


def test_what_cannot_be_read_is_refused() -> None:
    net, frame = loaded("vlm", VisionLanguage), pl.testbed.scenes(3000, 1).frames()[0]
    with pytest.raises(RequestError, match="base='saliency'"):
        token_maps(net, frame, "a bird", base="saliency")
    with pytest.raises(RequestError, match="4 blocks"):
        token_maps(net, frame, "a bird", block=9)
    with pytest.raises(ShapeError, match="one per word"):
        TokenMaps(("a",), maps(0, 1), maps(0, 1), torch.zeros(2, 2), torch.zeros(2), frame, "gradient", (1.0,))


def test_the_command_tells_and_shows(tmp_path: Path) -> None:
    words = ["tokens", "scene:7", "--text", "a coral bird", "--scales", "1", "--out", str(tmp_path / "t.png"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert [row["word"] for row in told["words"]] == ["a", "coral", "bird"] and (tmp_path / "t.png").exists()

"""A classifier that learns where descriptions lie finds them again; one that learned its classes only does not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

import pellucid as pl
from pellucid.cli import app
from pellucid.errors import LoadError, MethodUnavailable, RequestError, ShapeError
from pellucid.images import Frame
from pellucid.language import align
from pellucid.language.align import Aligned, contrast
from pellucid.language.translate import Corpus
from pellucid.subject.loaders.aligned import SCALE
from pellucid.testbed import scenes

RUN = CliRunner()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.of_scenes(951, 600)


@pytest.fixture(scope="module")
def aligned(corpus: Corpus) -> Aligned:
    return align.fit(pl.load("testbed:cnn"), corpus, steps=45, batch=40, rate=4e-3, held_out=0.15)


@pytest.fixture(scope="module")
def file(aligned: Aligned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aligned.save(tmp_path_factory.mktemp("aligned") / "cnn.aligned")


def test_held_out_pictures_find_their_description_ten_times_as_often_as_by_lot(aligned: Aligned) -> None:
    found = aligned.record.retrieval
    assert found.pictures == 90 and found.found > 10 * found.chance, str(found)
    assert found.beats_controls and "No better" not in str(found)
    assert found.right > 0.9, str(found)


def test_a_twin_that_learned_classes_only_is_at_chance_through_its_projection(corpus: Corpus) -> None:
    found = align.fit(pl.load("testbed:cnn"), corpus, weight=0.0, steps=20).record.retrieval
    assert found.found < 5 * found.chance, str(found)
    assert not found.beats_controls and "cannot be asked in words" in str(found)


def test_the_contrast_is_info_nce_and_same_words_are_no_counterexample() -> None:
    """Two pictures on their own texts, at right angles: log(1 + e^-s) each way; texts alike count for nothing."""
    axes = torch.eye(2)
    apart = float(contrast(axes, axes, torch.tensor([0, 1])))
    assert apart == pytest.approx(math.log1p(math.exp(-SCALE)), abs=1e-7)
    alike = axes[:1].expand(2, -1)
    assert float(contrast(alike, alike, torch.tensor([0, 0]))) == pytest.approx(0, abs=1e-6)
    assert float(contrast(alike, alike, torch.tensor([0, 1]))) == pytest.approx(math.log(2), rel=1e-5)


class Linear(nn.Module):
    """The head reads the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(pictures.mean(dim=(2, 3)))


def _letters(texts: Sequence[str]) -> Tensor:
    counted = torch.tensor([[text.count(letter) + 0.1 for letter in "rgb"] for text in texts])
    return functional.normalize(counted, dim=1)


def _coloured() -> tuple[pl.VisionModel, Corpus]:
    model = pl.wrap(Linear(), preprocess=pl.Preprocess(size=(7, 5)), labels=["red", "green"])
    pairs = [(Frame(_pixels(at), f"picture {at}"), "rg"[at % 2] * (1 + at % 3)) for at in range(40)]
    return model, Corpus.of_pairs(pairs)


def _pixels(at: int) -> np.ndarray:
    pixels = np.full((7, 5, 3), 20 + at, dtype=np.uint8)
    pixels[..., at % 2] = 200
    return pixels


@pytest.mark.parametrize("aim", align.AIMS)
def test_any_module_any_encoder_and_odd_sizes_will_do(aim: str, tmp_path: Path) -> None:
    """Two letters that lie along two axes; pictures of two colours are told apart by them."""
    model, corpus = _coloured()
    made = align.fit(model, corpus, [at % 2 for at in range(40)], _letters, aim=aim, steps=60, rate=0.1, batch=16)
    asked = made.among(["r", "g"])
    answers = asked.predict(corpus.inputs(asked)).argmax(dim=1)
    assert answers.tolist() == [at % 2 for at in range(40)]
    with pytest.raises(LoadError, match="had no name"):
        align.reopened(made.save(tmp_path / "linear.aligned"))
    again = align.reopened(tmp_path / "linear.aligned", model, _letters).among(["r", "g"])
    torch.testing.assert_close(again.predict(corpus.inputs(again)), asked.predict(corpus.inputs(asked)))


def test_the_model_stays_as_it_was_and_the_same_seed_gives_the_same_bits(corpus: Corpus) -> None:
    model = pl.load("testbed:cnn")
    before, state = model.fingerprint, torch.get_rng_state()
    first, second = (align.fit(model, corpus, steps=2, batch=8, seed=4) for _ in range(2))
    assert model.fingerprint == before and torch.equal(torch.get_rng_state(), state)
    assert first.classifier.fingerprint == second.classifier.fingerprint != before
    assert first.record == second.record


def test_the_file_opens_as_an_encoder_and_as_the_classifier(aligned: Aligned, file: Path) -> None:
    drawn = scenes(4100, 60)
    texts = [f"a {name}" for name in drawn.task.labels]
    model = pl.load(f"aligned:{file}")
    assert model.texts and model.labels.names == tuple(texts)
    torch.testing.assert_close(model.predict(drawn.tensor()), aligned.among(texts).predict(drawn.tensor()))
    lands = pl.load(f"aligned:{file}?texts=a ripple swift in the snow|a ripple swift at dusk")
    assert len(lands.labels) == 2 and "find their own description" in lands.notes[0]
    classes = align.reopened(file).classifier
    assert classes.labels.names == drawn.task.labels and not classes.texts
    right = classes.predict(drawn.tensor()).argmax(dim=1) == torch.from_numpy(drawn.labels)
    assert float(right.float().mean()) > 0.9


def test_a_transformer_learns_too_and_its_heads_can_be_told_in_texts(corpus: Corpus) -> None:
    from pellucid.language.residual import decompose

    made = align.fit(pl.load("testbed:vit"), corpus, steps=2, batch=8).among()
    assert decompose(made, scenes(4100, 3).tensor()).error < 1e-4


def test_classes_of_a_table_are_learned(tmp_path: Path) -> None:
    model, _ = _coloured()
    for at in range(12):
        Image.fromarray(_pixels(at)).save(tmp_path / f"{at}.png")
    rows = [f"{at}.png\t{'rg'[at % 2]}\t{('red', 'green')[at % 2]}" for at in range(12)]
    (tmp_path / "told.tsv").write_text("\n".join(rows), encoding="utf-8")
    found = align.fit(model, tmp_path / "told.tsv", encoder=_letters, steps=60, rate=0.1, batch=8).record.retrieval
    assert found.right == 1


def test_the_command_line_trains_and_describes(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "short.aligned"
    words = ["translate", "align-to-text", "-o", str(out), "--steps", "2", "--pictures", "60", "--json"]
    told = json.loads(RUN.invoke(app, words, catch_exceptions=False).stdout)
    assert told["file"] == str(out) and {"found", "chance", "beats_controls"} <= set(told["retrieval"])
    asked = ["describe", "class", "ripple swift", "--model", f"aligned:{file}", "--json"]
    found = json.loads(RUN.invoke(app, asked, catch_exceptions=False).stdout)
    assert found["controls"]["described"] > 0.5 and found["beats_controls"], found["controls"]
    unit = ["describe", "unit", "4", "--model", f"aligned:{file}", "--pictures", "120", "--json"]
    assert json.loads(RUN.invoke(app, unit, catch_exceptions=False).stdout)["units"][0]["unit"] == 4


def test_what_cannot_be_aligned_is_refused(corpus: Corpus, file: Path, tmp_path: Path) -> None:
    model = pl.load("testbed:cnn")
    with pytest.raises(RequestError, match="contrast or cosine"):
        align.fit(model, corpus, aim="mse")
    with pytest.raises(ShapeError, match="labels"):
        align.fit(model, corpus, [0, 1])
    with pytest.raises(MethodUnavailable, match="reads texts already"):
        align.fit(pl.load("testbed:dual"), corpus)
    with pytest.raises(MethodUnavailable, match="no linear layer"):
        align.fit(pl.load("testbed:planted_edges"), corpus)
    with pytest.raises(LoadError, match="holds no aligned model"):
        pl.load(f"aligned:{tmp_path / 'none'}")
    with pytest.raises(LoadError, match="puts texts elsewhere"):
        align.reopened(file, encoder=lambda texts: functional.normalize(torch.ones(len(texts), 64), dim=1))

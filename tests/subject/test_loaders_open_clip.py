"""open_clip: a tiny model in a folder, as the hub holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.errors import LoadError
from pellucid.images import Frame
from pellucid.subject.loaders import load
from pellucid.subject.loaders import open_clip as loader
from pellucid.values import Text

open_clip = pytest.importorskip("open_clip")

TEXTS = ["a wren", "an owl in the snow"]
CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("open_clip")
    torch.manual_seed(0)
    net = open_clip.CLIP(CONFIG["embed_dim"], CONFIG["vision_cfg"], CONFIG["text_cfg"])
    save_file(
        {name: value.contiguous() for name, value in net.state_dict().items()}, place / "open_clip_model.safetensors"
    )
    config = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}}
    (place / "open_clip_config.json").write_text(json.dumps(config))
    return place


def test_it_gives_one_logit_per_text(folder: Path) -> None:
    model = load(f"open_clip:local-dir:{folder}", texts=TEXTS)
    net, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    inputs = model.prepare([Frame(pixels)])
    assert float((inputs[0] - transform(Image.fromarray(pixels))).abs().max()) < 1e-5
    with torch.no_grad():
        image, text, scale = net.eval()(inputs, open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS))
    assert float((model.predict(inputs) - scale * image @ text.T).abs().max()) < 1e-4
    assert (list(model.labels), model.activation) == (TEXTS, "softmax")


def test_a_folder_is_recognised_without_the_prefix(folder: Path) -> None:
    assert list(load(str(folder), texts=TEXTS).labels) == TEXTS


def test_its_layers_lie_on_the_grid_and_new_texts_are_encoded(folder: Path) -> None:
    model = load(f"open_clip:local-dir:{folder}", texts=TEXTS)
    assert model.layers.default is not None
    assert model.layers.default.grid == (4, 4)
    (target,) = model.resolve(Text("a plume"), 1)
    assert target.reads == "embedding"


def test_a_folder_without_weights_is_refused_and_not_drawn_at_random(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text((folder / "open_clip_config.json").read_text())
    with pytest.raises(LoadError, match="could not load"):
        load(f"open_clip:local-dir:{tmp_path}", texts=TEXTS)
    assert "never trained" in load(f"open_clip:local-dir:{tmp_path}@random", texts=TEXTS).notes[0]


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("size", [32, (32, 32), (32, 56), (56, 32)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_open_clip_preprocessing_is_that_of_its_config(
    mode: str, size: int | tuple[int, int], interpolation: str
) -> None:
    from open_clip.transform import image_transform

    colours = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "interpolation": interpolation}
    config = {"size": size, "resize_mode": mode, **colours}
    if mode == "longest":
        with pytest.raises(LoadError, match="preprocess="):
            loader._preprocess("open_clip:x", config)
        return
    judge = image_transform(size, is_train=False, resize_mode=mode, **colours)
    for shape in ((50, 70, 3), (70, 31, 3)):
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        ours = Frame(pixels).input(loader._preprocess("open_clip:x", config))
        assert float((ours - judge(Image.fromarray(pixels))).abs().max()) < 1e-5

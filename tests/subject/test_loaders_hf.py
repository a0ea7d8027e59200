"""transformers: tiny models with random weights, saved to a folder as `save_pretrained` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.errors import LoadError, MissingExtra, TargetError
from pellucid.images import Frame
from pellucid.subject.loaders import hf, load
from pellucid.values import Text

transformers = pytest.importorskip("transformers")

LABELS = {0: "wren", 1: "swift", 2: "owl"}
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEEN = {"image_size": 32, "patch_size": 8}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def vit() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**TINY, **SEEN, id2label=LABELS))


def deit() -> Any:
    config = transformers.DeiTConfig(**TINY, **SEEN, id2label=LABELS)
    return transformers.DeiTForImageClassificationWithTeacher(config)


def convnext() -> Any:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], id2label=LABELS)
    return transformers.ConvNextForImageClassification(config)


def swin() -> Any:
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, id2label=LABELS
    )
    return transformers.SwinForImageClassification(config)


SMALL = {"height": 32, "width": 32}
CLASSIFIERS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "vit": (vit, lambda: transformers.ViTImageProcessor(size=SMALL)),
    "deit": (deit, lambda: transformers.DeiTImageProcessor(size={"height": 36, "width": 36}, crop_size=SMALL)),
    "convnext": (convnext, lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 64})),
    "swin": (swin, lambda: transformers.ViTImageProcessor(size=SMALL, resample=3)),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_saved_classifier_answers_as_transformers_does(kind: str, tmp_path: Path) -> None:
    make, processor = CLASSIFIERS[kind]
    net = make().eval()
    net.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    model = load(f"hf:{tmp_path}")
    inputs = model.prepare([Frame(picture(50, 70)), Frame(picture(90, 40))])
    with torch.no_grad():
        expected = net(inputs).logits
    assert float((model.predict(inputs) - expected).abs().max()) < 1e-5
    assert list(model.labels) == list(LABELS.values())
    assert model.layers.default is not None
    assert model.notes == ()
    assert load(str(tmp_path)).fingerprint == model.fingerprint  # a bare path finds the same


PROCESSORS: dict[str, Callable[[], Any]] = {
    "stretched": lambda: transformers.ViTImageProcessor(),
    "shorter side, then crop": lambda: transformers.CLIPImageProcessor(),
    "stretched, then crop": lambda: transformers.DeiTImageProcessor(),
    "ConvNeXT below 384": lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 224}),
    "ConvNeXT at 384": lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 384}),
    "PoolFormer": lambda: transformers.PoolFormerImageProcessor(),
    "LeViT": lambda: transformers.LevitImageProcessor(),
    "offset of EfficientNet": lambda: transformers.EfficientNetImageProcessor(rescale_offset=True, include_top=False),
    "not normalised": lambda: transformers.ViTImageProcessor(do_normalize=False),
    "bytes": lambda: transformers.ViTImageProcessor(do_normalize=False, do_rescale=False),
    "blue first": lambda: transformers.MobileViTImageProcessor(),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_processor_becomes_a_value_that_makes_the_same_input(kind: str) -> None:
    processor = PROCESSORS[kind]()
    value = hf.preprocess("hf:x", processor)
    pixels = np.array(Frame(picture(40, 60)).thumbnail(20).pixels)  # noise has no smooth neighbours: enlarge it
    theirs = torch.as_tensor(processor(images=pixels, return_tensors="pt")["pixel_values"])[0]
    theirs = theirs.flip(0) if kind == "blue first" else theirs
    ours = Frame(pixels).input(value)
    assert ours.shape == theirs.shape
    far = float(((ours - theirs).abs() * min(value.std)).quantile(0.99))
    assert far < 4 / 255, far  # of the range of colours


def test_a_processor_that_does_more_is_refused() -> None:
    class Turned(transformers.ViTImageProcessor):
        def __call__(self, images: Any, **options: Any) -> Any:
            batch = super().__call__(images, **options)
            batch["pixel_values"] = batch["pixel_values"].flip(-1)
            return batch

    with pytest.raises(LoadError, match=r"Turned does something that Preprocess cannot say.*preprocess="):
        hf.preprocess("hf:x", Turned())


def test_a_network_for_blue_first_is_given_blue_first(tmp_path: Path) -> None:
    config = transformers.MobileViTConfig(
        image_size=64,
        patch_size=2,
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
        id2label=LABELS,
    )
    net = transformers.MobileViTForImageClassification(config).eval()
    net.save_pretrained(tmp_path)
    size = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    transformers.MobileViTImageProcessor(**size).save_pretrained(tmp_path)
    model = load(f"hf:{tmp_path}")
    inputs = model.prepare([Frame(picture(90, 80))])
    with torch.no_grad():
        expected = net(inputs.flip(1)).logits
    assert float((model.predict(inputs) - expected).abs().max()) < 1e-5


def test_without_a_processor_pictures_are_refused_and_the_note_says_why(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    model = load(f"hf:{tmp_path}")
    assert model.preprocess is None
    assert "brings no preprocessing" in model.notes[0]


def test_labels_that_are_only_numbers_are_numbered(tmp_path: Path) -> None:
    net = transformers.ViTForImageClassification(transformers.ViTConfig(**TINY, **SEEN, num_labels=4))
    net.save_pretrained(tmp_path)
    assert model_labels(tmp_path) == ["class 0", "class 1", "class 2", "class 3"]


def test_a_head_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    """transformers would draw it at random and go on."""
    transformers.ViTModel(transformers.ViTConfig(**TINY, **SEEN)).save_pretrained(tmp_path)
    with pytest.raises(LoadError, match=r"no trained weights: classifier\.bias"):
        load(f"hf:{tmp_path}")


def test_an_untrained_one_is_drawn_from_the_config(tmp_path: Path) -> None:
    transformers.ViTConfig(**TINY, **SEEN, architectures=["ViTForImageClassification"]).save_pretrained(tmp_path)
    first, again = load(f"hf:{tmp_path}@random"), load(f"hf:{tmp_path}", weights=False)
    assert first.fingerprint == again.fingerprint
    assert "never trained" in first.notes[0]


def test_code_of_a_model_runs_only_when_asked_for(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    code = f"""
from pathlib import Path
Path({str(marker)!r}).touch()
from transformers import PretrainedConfig, PreTrainedModel
import torch

class OwnConfig(PretrainedConfig):
    model_type = "own_net"

class OwnNet(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.head = torch.nn.Linear(3, 2)
        self.post_init()
    def forward(self, pixel_values):
        return self.head(pixel_values.mean((2, 3)))
"""
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    config = {"model_type": "own_net", "architectures": ["OwnNet"], "id2label": {"0": "no", "1": "yes"},
              "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnNet"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    from safetensors.torch import save_file

    save_file({"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}, tmp_path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(LoadError, match=r"Python code of its own.*trust_remote_code=True"):
        load(f"hf:{tmp_path}")
    assert not marker.exists()
    model = load(f"hf:{tmp_path}", trust_remote_code=True)
    assert marker.exists()
    assert model.predict(torch.ones(1, 3, 8, 8)).tolist() == [[3.0, 3.0]]


FAULTS = [
    ("hf:nobody/nothing", "Check the name and the connection"),
    ("hf:a/b/c", "Check the name"),
    ("hf:nobody/nothing@v2", "hf:nobody/nothing"),
]


@pytest.mark.parametrize(("spec", "says"), FAULTS)
def test_what_cannot_be_fetched_says_so(spec: str, says: str) -> None:
    with pytest.raises(LoadError) as caught:
        load(spec)
    assert says in str(caught.value)


def test_local_only_never_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(LoadError, match="leave local_only out"):
        load("hf:nobody/nothing", local_only=True)


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(**TINY, vocab_size=20)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="BertConfig"):
        load(f"hf:{tmp_path}")


def test_a_classifier_is_not_compared_with_texts(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="vit classifier"):
        load(f"hf:{tmp_path}", texts=["a cat"])


def test_a_processor_without_torchvision_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vit().save_pretrained(tmp_path)

    def needs_more(*_arguments: Any, **_options: Any) -> Any:
        raise ImportError("requires the Torchvision library")

    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", needs_more)
    with pytest.raises(MissingExtra, match=r"pellucid\[torchvision\]"):
        load(f"hf:{tmp_path}")


# -- dual encoders ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = transformers.CLIPConfig(
        text_config={
            **TINY,
            "vocab_size": len(tokens),
            "max_position_embeddings": 24,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        vision_config={**TINY, **SEEN},
        projection_dim=12,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": SMALL}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


TEXTS = ["a wren", "an owl", "snow"]


def test_a_dual_encoder_gives_one_logit_per_text(clip_folder: Path) -> None:
    model = load(f"hf:{clip_folder}", texts=TEXTS)
    net = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(clip_folder)(TEXTS, padding=True, return_tensors="pt")
    inputs = model.prepare([Frame(picture(50, 70)), Frame(picture(90, 40))])
    with torch.no_grad():
        expected = net(pixel_values=inputs, **tokens).logits_per_image
    assert float((model.predict(inputs) - expected).abs().max()) < 1e-4
    assert (list(model.labels), model.activation) == (TEXTS, "softmax")
    assert not [name for name in model.layers if "text" in name]


def test_the_spec_keeps_the_texts(clip_folder: Path) -> None:
    assert load(f"hf:{clip_folder}", texts=TEXTS).spec == f"hf:{clip_folder}?texts=a wren|an owl|snow"


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path / "mine@home")
    assert load(f"hf:{tmp_path}/mine@home").name == "mine@home"


def test_texts_are_named_in_the_spec_too(clip_folder: Path) -> None:
    model = load(f"hf:{clip_folder}?texts=a wren|an owl")
    assert list(model.labels) == ["a wren", "an owl"]


def test_a_new_text_is_compared_at_the_embedding(clip_folder: Path) -> None:
    model = load(f"hf:{clip_folder}", texts=TEXTS)
    inputs = model.prepare([Frame(picture(50, 70))])
    (target,) = model.resolve(Text("snow"), len(inputs))
    assert target == Text("snow", 2)
    (target,) = model.resolve(Text("a new one"), len(inputs))
    assert target.reads == "embedding"
    again = load(f"hf:{clip_folder}", texts=["a new one", "another"])
    embedding = model.embed(inputs, "embedding")[None]
    cosine = float(again.predict(inputs)[0, 0]) / float(again.network.get_buffer("logit_scale"))
    assert float(target(embedding)) == pytest.approx(cosine, abs=1e-5)


def test_a_text_that_is_too_long_is_refused_and_not_cut(clip_folder: Path) -> None:
    with pytest.raises(TargetError, match=r"tokens long.*at most 24"):
        load(f"hf:{clip_folder}", texts=["a wren", "a very long text about very many birds"])


def test_a_single_text_is_refused_where_texts_compete(clip_folder: Path) -> None:
    with pytest.raises(LoadError, match="'a wren' is compared with nothing"):
        load(f"hf:{clip_folder}", texts=["a wren"])


def test_a_dual_encoder_without_texts_says_how_to_give_them(clip_folder: Path) -> None:
    with pytest.raises(LoadError, match=r"\?texts=a cat\|a dog"):
        load(f"hf:{clip_folder}")


def test_siglip_answers_yes_or_no_to_each_text() -> None:
    """Its logit has a bias and is squashed on its own; without a tokenizer of its own the picture side is enough."""
    from pellucid.subject.loaders import dual

    config = transformers.SiglipConfig(
        text_config={**TINY, "vocab_size": 30, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**TINY, **SEEN},
    )
    torch.manual_seed(0)
    net = transformers.SiglipModel(config).eval()
    tokens = torch.randint(2, 30, (2, 8))

    def encode(_texts: Any) -> torch.Tensor:
        with torch.no_grad():
            features = net.get_text_features(tokens)
        return torch.nn.functional.normalize(getattr(features, "pooler_output", features), dim=-1)

    side = hf._PictureSide(net, hf._PICTURE_SIDE["siglip"])
    scale, bias = float(net.logit_scale.detach().exp()), float(net.logit_bias.detach())
    model = dual.wrapped("hf:x", side, encode, ["a", "b"], scale=scale, bias=bias, input_size=(32, 32))
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net(input_ids=tokens, pixel_values=inputs).logits_per_image
    assert float((model.predict(inputs) - expected).abs().max()) < 1e-4
    assert model.activation == "sigmoid"


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def model_labels(folder: Path) -> list[str]:
    return list(load(f"hf:{folder}").labels)

"""Any causal language model of transformers as the decoder: opened by its folder, frozen, steered by a prefix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import LoadError, RequestError
from pellucid.images import Frame
from pellucid.language import translate
from pellucid.language.translation.causal import CausalDecoder
from pellucid.language.translation.decoders import FILL, opened

HUES = ("coral", "blue", "moss")
COLOURS = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of 32 channels, taught to go on about the hue it began with, as save_pretrained writes it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["<end>", "<unk>", "a", "bird", *HUES]
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", bos_token="<end>", unk_token="<unk>"
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(words), n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
                resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            )
        )  # fmt: skip
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(120):
            # Four sentences of one hue in a row: it knows every position at which one may begin, and goes by what
            # stands before; one that ignored that could not be steered by any prefix.
            hues = torch.randint(3, (12, 1)).expand(-1, 4)
            told = torch.tensor([[0, *(word for hue in row for word in (2, 4 + hue, 3, 0))] for row in hues.tolist()])
            loss = model(input_ids=told, labels=told).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    place = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def seeing() -> pl.VisionModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    return pl.wrap(net.eval(), labels=HUES, input_size=(8, 8), preprocess=pl.Preprocess(size=(8, 8)))


def pairs(count: int) -> list[tuple[Frame, str]]:
    made = []
    for at in range(count):
        hue = at % 3
        pixels = (COLOURS[hue] * (200 + at % 50)).to(torch.uint8).expand(8, 8, 3).contiguous().numpy()
        made.append((Frame(pixels, f"{at}"), f"a {HUES[hue]} bird"))
    return made


def test_a_model_of_transformers_says_what_the_features_hold(folder: Path, seeing: pl.VisionModel) -> None:
    lesson = translate.Lesson(steps=150, batch=24, rate=5e-3)
    made = translate.fit(seeing, pairs(90), f"hf:{folder}", lesson=lesson, judged=9)
    for at, (frame, _) in enumerate(pairs(3)):
        assert made.say(frame) == (f"a {HUES[at]} bird",)
        assert made.words(frame, most=100).first(1) == (HUES[at],)
    assert opened(f"hf:{folder}").fingerprint == made.record.decoder_hash
    assert made.record.decoder == f"hf:{folder}"


def test_a_model_handed_over_comes_back_as_it_was(folder: Path, seeing: pl.VisionModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).train(), AutoTokenizer.from_pretrained(folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    translate.fit(seeing, pairs(30), (model, tokenizer), lesson=translate.Lesson(steps=3, batch=8), judged=0)
    assert model.training
    assert all(one.requires_grad and one.grad is None for one in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_word_by_word_gives_what_the_model_gives_at_once(folder: Path) -> None:
    decoder = CausalDecoder.opened(str(folder))
    prefix = torch.randn(2, 4, decoder.width, generator=torch.Generator().manual_seed(0)) * 0.1
    numbers = decoder.numbers(["a moss bird", "a coral bird"])
    with torch.no_grad():
        whole = decoder.logits(prefix, numbers)
        logits, state = decoder.begin(prefix)
        for at in range(numbers.shape[1]):
            torch.testing.assert_close(logits, whole[:, at], rtol=1e-4, atol=1e-4)
            logits, state = decoder.step(numbers[:, at], state)


def test_texts_end_with_the_end_token_and_are_filled_up(folder: Path) -> None:
    decoder = CausalDecoder.opened(str(folder))
    numbers = decoder.numbers(["a moss bird", "a bird"])
    assert numbers.tolist()[1][-2:] == [decoder.end, FILL]
    assert decoder.texts(numbers) == ("a moss bird", "a bird")


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot be opened"):
        opened(f"hf:{tmp_path}")
    with pytest.raises(RequestError, match="no language model"):
        opened(3)

"""What narrators say is held against the evidence: over real HTTP, from a real language model, and where it lies."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import pellucid as pl
from pellucid.errors import LoadError, RemoteError, RequestError
from pellucid.language.narrators import Brief, Chat, Local, Narrator, clues_of, narrate, narrator_of, read_clues
from pellucid.results import Claim, Claims, Explanation, Narration, open_result
from pellucid.subject import VisionModel
from tests.language.servers import Liar, serving


@cache
def model() -> VisionModel:
    return pl.load("testbed:cnn")


@cache
def claims(scene: int = 1) -> Claims:
    answer = pl.explain(model(), pl.testbed.scenes(31, 6).frames()[scene], methods=["layer_cam", "gradient_x_input"])
    assert isinstance(answer, Explanation)
    return answer.claims


class Saying:
    name = "saying"

    def __init__(self, text: str) -> None:
        self.text = text

    def say(self, brief: Brief) -> str:
        return self.text


def verdicts(text: str) -> list[str]:
    return [one.verdict for one in narrate(model(), claims(), Saying(text)).sentences]


def figure(at: int, name: str, form: str = ".0%") -> str:
    return format(claims()[at].measured[name], form)


def test_templates_are_faithful_by_construction() -> None:
    told = narrate(model(), claims(), "templates")
    assert told.faithful == {"hallucination": 0.0, "unverifiable": 0.0, "numbers": 1.0, "coverage": 1.0}
    assert told.text == " ".join(one.text for one in claims())


def test_every_clue_comes_back_from_its_json() -> None:
    clues = clues_of(claims())
    assert read_clues(Brief(clues).evidence) == clues and [one.id for one in clues] == ["c1", "c2", "c3", "c4", "c5"]


TRUE = "When that is blurred it drops from {before} to {after}, and with random regions it is {random} [c2]."
CASES = {
    "the same in other words": (TRUE, "verified"),
    "no id, but its numbers are those of a claim": ("It falls from {before} to {after}.", "verified"),
    "a number that was not measured": ("The probability drops to 55% [c2].", "refuted"),
    "a number with a digit too many": ("The probability drops to {finer} [c2].", "refuted"),
    "numbers in the wrong order": ("The probability drops from {after} to {before} [c2].", "refuted"),
    "what random regions leave, said of the region": ("The probability drops to {random} [c2].", "refuted"),
    "what is left, said of random regions": ("With random regions it is {after} [c2].", "refuted"),
    "the other direction": ("The probability rises from {before} to {after} [c2].", "refuted"),
    "a denial": ("The probability does not drop from {before} to {after} [c2].", "refuted"),
    "a class that is not in the claim": ("The model predicts pebble swift at {before} [c1].", "refuted"),
    "a name nobody measured": ("The model predicts a “banana” at {before} [c1].", "refuted"),
    "another place": ("The answer depends on the lower left part, {share} [c2].", "refuted"),
    "an id that does not exist": ("The probability drops from {before} to {after} [c9].", "refuted"),
    "a cause of its own": ("It falls from {before} to {after} because the bird sings [c2].", "unverifiable"),
    "nothing that could be checked": ("The model is confident [c1].", "unverifiable"),
    "nothing of the kind": ("Birds migrate in autumn.", "unverifiable"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sentence_is_held_against_its_claim(case: str) -> None:
    text, expected = CASES[case]
    figures = {name: figure(1, name) for name in ("before", "after", "random", "share")}
    said = text.format(**figures, finer=f"{claims()[1].measured['after'] + 0.002:.1%}")
    assert verdicts(said) == [expected], said


def test_refuted_sentences_are_struck_or_left_out_and_counted_either_way() -> None:
    text = "The probability drops to 55% [c2]. The model is confident [c1]."
    struck, dropped = (narrate(model(), claims(), Saying(text), wrong=wrong) for wrong in ("strike", "drop"))
    assert [len(one.sentences) for one in (struck, dropped)] == [2, 1] and dropped.dropped == 1
    assert struck.faithful["hallucination"] == dropped.faithful["hallucination"] == 0.5
    assert struck.faithful["numbers"] == 0.0 and struck.faithful["coverage"] == 0.0
    assert "<s>" in struck.fragment() and struck.text == "The model is confident. [unchecked]"


def test_a_retold_sentence_is_tested_again_from_disk_with_the_same_figures(tmp_path: Path) -> None:
    text = TRUE.format(**{name: figure(1, name) for name in ("before", "after", "random")})
    told = narrate(model(), claims(), Saying(text))
    opened = open_result(told.save(tmp_path / "told.json"))
    assert isinstance(opened, Narration) and opened == told
    again = opened.sentences[0].recheck(model())
    assert again.verdict == "verified" and again.measured == opened.sentences[0].measured
    assert opened.sentences[0].recheck(pl.load("testbed:cnn_background")).verdict == "refuted"
    assert Claim.from_dict(json.loads(json.dumps(again.to_dict()))) == again


# -- over HTTP ------------------------------------------------------------------------------------------------------


def test_a_server_retells_the_claims_and_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Liar(0.0)) as server:
        monkeypatch.setenv("PELLUCID_NARRATOR_URL", server.url)
        monkeypatch.setenv("PELLUCID_NARRATOR_KEY", "open sesame")
        told = narrate(model(), claims(), "chat:small", frame=claims()[0].frame)
    assert told.narrator == "chat:small" and told.faithful["hallucination"] == 0.0
    assert told.faithful["numbers"] == told.faithful["coverage"] == 1.0
    assert told.text != " ".join(one.text for one in claims())
    assert server.headers[0]["Authorization"] == "Bearer open sesame"
    sent = json.dumps(server.asked)
    assert "image_url" not in sent and "base64" not in sent  # no picture leaves the machine unasked
    assert "sesame" not in json.dumps(told.to_dict())


def test_the_picture_is_sent_only_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: "Nothing [c1].") as server:
        monkeypatch.setenv("PELLUCID_NARRATOR_URL", server.url)
        narrator = narrator_of("chat+picture:small")
        narrator.say(Brief(clues_of(claims()), claims()[0].frame))
    assert narrator.name == "chat+picture:small"
    (text, picture) = server.asked[0]["messages"][1]["content"]
    assert read_clues(text["text"]) == clues_of(claims())
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_server_that_lies_in_a_third_of_its_sentences_is_caught() -> None:
    liar = Liar(0.3, seed=4)
    found: list[str] = []
    with serving(liar) as server:
        narrator = Chat("liar", url=server.url)
        for scene in range(4):
            for attempt in range(8):
                liar.seed = attempt
                found += [one.verdict for one in narrate(model(), claims(scene), narrator).sentences]
    lies = [verdict for verdict, (_, true) in zip(found, liar.said, strict=True) if not true]
    truths = [verdict for verdict, (_, true) in zip(found, liar.said, strict=True) if true]
    caught = sum(verdict == "refuted" for verdict in lies) / len(lies)
    rejected = sum(verdict == "refuted" for verdict in truths) / len(truths)
    missed = [text for verdict, (text, true) in zip(found, liar.said, strict=True) if not true and verdict != "refuted"]
    turned = [text for verdict, (text, true) in zip(found, liar.said, strict=True) if true and verdict == "refuted"]
    assert len(lies) > 30 and caught >= 0.95 and rejected <= 0.05, (caught, rejected, missed[:5], turned[:5])


def test_of_several_accounts_the_truest_is_kept() -> None:
    liar = Liar(0.5)
    with serving(liar) as server:
        one = narrate(model(), claims(), Chat("liar", url=server.url))
        several = narrate(model(), claims(), Chat("liar", url=server.url), candidates=6)
    assert several.faithful["hallucination"] <= one.faithful["hallucination"] < 1


@pytest.mark.parametrize("trouble", [("500", "429"), ("slow",), ("503",)])
def test_a_server_in_trouble_is_asked_again(trouble: tuple[str, ...]) -> None:
    with serving(Liar(0.0), troubles=trouble) as server:
        narrator = Chat("small", url=server.url, timeout=0.25, pause=0.01)
        assert narrate(model(), claims(), narrator).faithful["coverage"] == 1.0
    assert len(server.asked) == len(trouble) + 1


@pytest.mark.parametrize(
    ("troubles", "says"),
    [
        (("500",) * 3, "status 500.*Gave up after 3 tries"), (("slow",) * 3, "no answer within 0.25 seconds"),
        (("garbage",), "no JSON came back"), (("empty",), "holds no message"), (("401",), "status 401"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_answer_as_agreed_is_named_with_what_it_did(
    troubles: tuple[str, ...], says: str
) -> None:
    with serving(Liar(0.0), troubles=troubles) as server:
        narrator = Chat("small", url=server.url, key="open sesame", timeout=0.25, retries=2, pause=0.01)
        with pytest.raises(RemoteError, match=says) as caught:
            narrator.say(Brief(clues_of(claims())))
    assert "sesame" not in str(caught.value)


def test_a_server_that_is_not_there_is_no_riddle() -> None:
    with pytest.raises(RemoteError, match="cannot be reached"):
        Chat("small", url="http://127.0.0.1:9/v1", retries=0).say(Brief(clues_of(claims())))


def test_no_server_is_asked_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PELLUCID_NARRATOR_URL", raising=False)
    with pytest.raises(RequestError, match="PELLUCID_NARRATOR_URL"):
        narrator_of("chat:small")


@pytest.mark.parametrize("url", ["ftp://example.org", "nonsense", "http://me:secret@example.org/v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(RequestError) as caught:
        Chat("small", url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("asked", ["gpt", "chat:", "hf:", 7])
def test_what_names_no_narrator_is_refused(asked: Any) -> None:
    with pytest.raises(RequestError, match="narrator"):
        narrator_of(asked)


# -- a language model of this machine -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers that was taught nothing."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("narrator")
    words = sorted(set(claims()[1].text.split()) | {"<unk>", "<end>", "falls", "9%", "[c1]", "."})
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>").save_pretrained(place)
    torch.manual_seed(0)
    end = words.index("<end>")
    config = GPT2Config(vocab_size=len(words), n_positions=1024, n_embd=16, n_layer=2, n_head=2, bos_token_id=end,
                        eos_token_id=end, pad_token_id=end)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(place)
    return place


def test_a_language_model_from_a_folder_tells_and_is_not_believed(folder: Path) -> None:
    narrator = Local.opened(folder, most_tokens=40)
    assert isinstance(narrator, Narrator)
    told = narrate(model(), claims(), narrator)
    assert told.narrator == f"hf:{folder.name}" and not told.claims.verified
    assert narrate(model(), claims(), narrator) == told  # the likeliest words are always the same


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(LoadError, match="hf:"):
            narrator_of(f"hf:{place}")

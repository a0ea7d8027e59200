"""Classification by description: sums are exact, edits change scores by what arithmetic says, controls are honest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from pellucid.errors import DescriptorError, RequestError
from pellucid.language.descriptors import Descriptors, Wording, by_description, flips, visibility
from pellucid.language.differential import Differential, from_attributes, from_descriptors
from pellucid.language.ensembling import Selection, ensembling_control, random_pools
from pellucid.language.matching import match_texts
from pellucid.language.word_controls import controls, random_words, shuffled
from pellucid.values import Seed

PLAIN = Wording("{name}", "{description}", "{description}")
DIM = 32


class Axes:
    """An encoder that gives each new text an axis of its own: all texts are orthonormal."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def __call__(self, texts: object) -> torch.Tensor:
        assert isinstance(texts, (list, tuple))
        return torch.eye(200)[[self.known.setdefault(text, len(self.known)) for text in texts]]


CATS = Descriptors({"cat": ("whiskers", "stripes", "a tail"), "car": ("wheels", "windows")})


def test_scores_are_exact_sums_with_orthonormal_texts() -> None:
    encode = Axes()
    described = by_description(CATS, encode, wording=PLAIN)
    picture = 0.5 * encode(["whiskers"])[0] + 0.25 * encode(["a tail"])[0] + 0.2 * encode(["wheels"])[0]
    assert described.scores(picture[None])[0].tolist() == pytest.approx([0.75 / 3, 0.2 / 2])
    account = described.account(picture)
    assert (account.winner, account.runner_up) == ("cat", "car")
    assert [(part.text, round(part.share, 6)) for part in account.parts][:2] == [
        ("whiskers", round(0.5 / 3, 6)), ("a tail", round(0.25 / 3, 6))
    ]  # fmt: skip
    assert sum(part.share for part in account.parts) == pytest.approx(account.score)
    assert account.margin == pytest.approx(0.25 - 0.1)
    assert account.missing[0].text == "windows"


def test_deleting_a_description_changes_the_score_by_what_arithmetic_says() -> None:
    encode = Axes()
    before = by_description(CATS, encode, wording=PLAIN)
    after = by_description(CATS.edited("cat", remove=["stripes"]), encode, wording=PLAIN, known=before)
    pictures = functional.normalize(torch.rand(20, 200, generator=torch.Generator().manual_seed(0)), dim=1)
    gone = pictures @ encode(["stripes"])[0]
    change = after.scores(pictures)[:, 0] - before.scores(pictures)[:, 0]
    torch.testing.assert_close(change, (before.scores(pictures)[:, 0] - gone) / 2)
    torch.testing.assert_close(after.scores(pictures)[:, 1], before.scores(pictures)[:, 1])


def test_texts_are_encoded_once() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.eye(10)[: len(texts)]

    before = by_description(CATS, encode, wording=PLAIN)
    by_description(CATS.edited("car", add=["a horn"]), encode, wording=PLAIN, known=before)
    assert sorted(asked) == sorted(["whiskers", "stripes", "a tail", "wheels", "windows", "a horn"])


def test_a_class_that_was_described_as_another_recovers_once_it_is_edited() -> None:
    encode = Axes()
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 2
    pictures = 0.05 * torch.randn(60, 200, generator=draw)
    pictures[labels == 0] += encode(["whiskers"])[0]
    pictures[labels == 1] += encode(["wheels"])[0]
    wrong = by_description(Descriptors({"cat": ["wheels"], "car": ["whiskers"]}), encode, wording=PLAIN)  # type: ignore[dict-item]
    right = by_description(Descriptors({"cat": ["whiskers"], "car": ["wheels"]}), encode, wording=PLAIN)  # type: ignore[dict-item]
    found = flips(wrong, right, pictures, labels)
    assert (found.before, found.after, found.changed, found.mended, found.broken) == (0, 1, 60, 60, 0)
    assert visibility(right, pictures, labels)["cat"] == (("whiskers", 1.0),)


def test_a_class_without_descriptions_goes_by_its_name() -> None:
    described = by_description(Descriptors({"cat": (), "car": ("wheels",)}), Axes())
    assert described.sentences == (("a photo of a cat",), ("car, which has wheels",))


@pytest.mark.parametrize(("description", "sentence"), [
    ("a long bill", "gull, which has a long bill"), ("webbed feet", "gull, which has webbed feet"),
    ("can swim", "gull, which can swim"), ("is white", "gull, which is white"),
    ("found near water", "gull, which is found near water"),
    ("swimming in flocks", "gull, which is swimming in flocks"),
    ("wings", "gull, which has wings"),
])  # fmt: skip
def test_the_verb_fits_the_description(description: str, sentence: str) -> None:
    assert Wording().of_both("gull", description) == sentence


def test_a_list_is_read_as_it_was_written_and_can_be_edited_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "animals.yaml"
    CATS.write(path)
    assert dict(Descriptors.read(path).classes) == dict(CATS.classes)
    assert "cat:\n- whiskers" in path.read_text()
    path.write_text("cat:\n  - whiskers\n  - whiskers\n  -  two   ears\ncar: wheels\nnothing:\n")
    read = Descriptors.read(path)
    assert dict(read.classes) == {"cat": ("whiskers", "two ears"), "car": ("wheels",), "nothing": ()}


@pytest.mark.parametrize("text", ["- a\n- b\n", "cat:\n  - whiskers\n", "cat: {a: b}\ncar: [x]\n",
                                  "cat: [1, 2]\ncar: []\n", "cat: [\n",
                                  "!!python/object/apply:os.system ['true']\n"])  # fmt: skip
def test_a_list_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(DescriptorError):
        Descriptors.read(tmp_path / "bad.yaml")


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(DescriptorError, match="Known: cat, car"):
        CATS["dog"]
    with pytest.raises(DescriptorError, match="has no 'fins'"):
        CATS.edited("cat", remove=["fins"])
    with pytest.raises(DescriptorError, match="cannot be read"):
        Descriptors.read("nowhere.yaml")
    assert CATS.naming_others() == {}
    assert Descriptors({"cat": ("not a car at all",), "car": ()}).naming_others() == {"cat": ("not a car at all",)}


def test_controls_see_descriptions_that_matter() -> None:
    encode = Axes()
    labels = torch.arange(80) % 2
    pictures = 0.05 * torch.randn(80, 200, generator=torch.Generator().manual_seed(1))
    for number, texts in enumerate(CATS.classes.values()):
        for text in texts:
            pictures[labels == number] += encode([text])[0]
    words = [f"word{number}" for number in range(20)]
    found = controls(CATS, encode, pictures, labels, words=words, wording=PLAIN, draws=5)
    assert found.described == 1 and found.meaning_helps == (found.described > found.highest)
    assert found.random_words < 0.8 and "random words" in str(found)
    assert all(value == 1 for _, value in found.visibility["cat"])


def test_random_words_and_shuffled_descriptions_keep_counts_and_lengths() -> None:
    noise = random_words(CATS, ["x", "y", "z", "u", "v", "w"], Seed(0))
    assert all(
        len(mine) <= len(theirs) for mine, theirs in zip(noise.classes.values(), CATS.classes.values(), strict=True)
    )
    assert noise["cat"][-1].count(" ") == "a tail".count(" ")
    moved = shuffled(CATS, Seed(0))
    assert sorted(text for name in moved for text in moved[name]) == sorted(
        text for name in CATS for text in CATS[name]
    )
    assert [len(moved[name]) for name in moved] == [3, 2]


# -- differential descriptions -------------------------------------------------------------------------------------

BILLS = {"grebe": {"bill": "a short bill"}, "loon": {"bill": "a long bill"}, "duck": {"bill": "a flat bill"}}


def birds() -> tuple[Differential, torch.Tensor, torch.Tensor]:
    """Names of grebe and loon mean the same; only the bill tells them apart."""
    said = {"grebe": [1.0, 0, 0, 0, 0], "loon": [1.0, 0, 0, 0, 0], "duck": [0, 1.0, 0, 0, 0],
            "a short bill": [0, 0, 1.0, 0, 0], "a long bill": [0, 0, 0, 1.0, 0],
            "a flat bill": [0, 0, 0, 0, 1.0]}  # fmt: skip
    encode = lambda texts: torch.tensor([said[text] for text in texts])
    labels = torch.arange(60) % 2
    pictures = torch.zeros(60, 5)
    pictures[:, 0] = 0.8
    pictures[torch.arange(60), 2 + labels] = 0.6
    return Differential(["grebe", "loon", "duck"], encode, from_attributes(BILLS), k=2, wording=PLAIN), pictures, labels


def test_classes_whose_names_coincide_are_told_apart_by_the_attribute() -> None:
    differential, pictures, labels = birds()
    by_name = (pictures @ differential._first.T).argmax(dim=1)
    assert float((by_name == labels).float().mean()) == 0.5
    ranked = differential.rank(pictures)
    assert float((ranked.predicted == labels).float().mean()) == 1
    assert ranked.coverage(labels) == 1
    assert float(ranked.scores[:, 2].max()) < -1  # the duck is not confused with them and stays below
    row = differential.table(pictures[0])[0]
    assert (row.attribute, row.first, row.second) == ("bill", "a short bill", "a long bill")
    assert row.difference == pytest.approx(0.6)


def test_only_pairs_that_occur_are_asked_for_and_what_is_the_same_says_nothing() -> None:
    asked: list[tuple[str, str]] = []
    table = from_attributes({**BILLS, "loon": {"bill": "a short bill"}})

    def differences(first: str, second: str) -> object:
        asked.append((first, second))
        return table(first, second)

    differential, pictures, _ = birds()
    differential._differences = differences  # type: ignore[assignment]
    ranked = differential.rank(pictures)
    assert asked == [("grebe", "loon")] and differential.pair(0, 1) == ()
    torch.testing.assert_close(ranked.scores[:, 0], ranked.scores[:, 1])  # back to their names


def test_the_order_of_classes_does_not_matter() -> None:
    differential, pictures, _ = birds()
    order = [2, 1, 0]
    other = Differential(
        [differential.names[at] for at in order], differential._encode, from_attributes(BILLS), k=3, wording=PLAIN
    )  # fmt: skip
    same = Differential(differential.names, differential._encode, from_attributes(BILLS), k=10, wording=PLAIN)
    assert same.k == 3  # all of them: nothing stays below
    torch.testing.assert_close(other.rank(pictures).scores[:, [2, 1, 0]], same.rank(pictures).scores)


def test_a_list_of_descriptors_gives_differences() -> None:
    found = from_descriptors(Descriptors({"a": ("tail", "long"), "b": ("tail", "short")}))("a", "b")
    assert [(one.first, one.second) for one in found] == [("long", "short")]


# -- whether meaning helps -----------------------------------------------------------------------------------------


def planted(seed: int, meaningful: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Names, descriptions (the first `meaningful` lie along class axes), pictures and labels of 4 classes."""
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(DIM, DIM, generator=draw))[0]
    labels = torch.arange(160) % 4
    pictures = axes[4] + 0.35 * axes[labels] + 0.12 * torch.randn(160, DIM, generator=draw)
    names = axes[4] + 0.1 * axes[:4] + 0.05 * torch.randn(4, DIM, generator=draw)
    pool = torch.randn(500, DIM, generator=draw)
    if meaningful:
        own = torch.arange(meaningful) % 4
        pool[:meaningful] = 4 * axes[own] + 0.4 * torch.randn(meaningful, DIM, generator=draw)
    names, pool, pictures = (functional.normalize(each, dim=1) for each in (names, pool, pictures))
    return names, pool, pictures, labels


@pytest.mark.parametrize("seed", range(3))
def test_descriptions_with_meaning_are_chosen(seed: int) -> None:
    _, pool, pictures, labels = planted(seed, 48)
    selection = Selection.measured(pool, pictures, labels, 4)
    chosen = [number for one in range(4) for number in selection.chosen(one, range(4), 12)]
    assert len([number for number in chosen if number < 48]) / 48 >= 0.95


@pytest.mark.parametrize("seed", range(3))
def test_meaning_is_seen_to_help(seed: int) -> None:
    names, pool, pictures, labels = planted(seed, 48)
    verdict = ensembling_control(
        names, pool, (pictures[:80], labels[:80]), (pictures[80:], labels[80:]), weights=(0, 1, 4), seed=seed
    )
    assert verdict.meaning_helps and verdict.selected > verdict.random, str(verdict)
    assert verdict.curve[0] == verdict.selected and "What they mean helps" in str(verdict)


def test_a_pool_of_noise_is_said_to_help_in_at_most_one_of_twenty() -> None:
    """Chosen directions do tell classes apart: random choice alone would be beaten every time."""
    helped = beaten = 0
    for seed in range(40):
        names, pool, pictures, labels = planted(seed, 0)
        verdict = ensembling_control(
            names, pool[:100], (pictures[:80], labels[:80]), (pictures[80:], labels[80:]), weights=(0,), draws=20,
            seed=seed,
        )  # fmt: skip
        helped += verdict.meaning_helps
        beaten += verdict.selected > verdict.random
    assert beaten >= 36
    assert helped <= 6  # at 4.8 %, more than 6 of 40 have a chance below 0.5 %


def test_random_pools_hold_as_many_words_and_none_that_was_described() -> None:
    names, pool, pictures, labels = planted(0, 48)
    told: list[str] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        told.extend(texts)
        numbers = torch.Generator().manual_seed(len(told))
        return functional.normalize(torch.randn(len(texts), DIM, generator=numbers), dim=1)

    texts = ["a yellow bill", "webbed feet"] * 250
    pools = random_pools(texts, ["plum", "coral", "moss"], encode, draws=20)
    assert len(pools) == 20 and all(one.shape == pool.shape for one in pools)
    assert [len(one.split()) for one in told[:4]] == [3, 2, 3, 2] and told[:500] != told[500:1000]
    assert {word for one in told for word in one.split()} == {"plum", "coral", "moss"}
    verdict = ensembling_control(names, pool, (pictures[:80], labels[:80]), (pictures[80:], labels[80:]), weights=(0,),
                                 meaningless=pools, draws=20)  # fmt: skip
    assert verdict.meaning_helps and verdict.selected > verdict.meaningless_high


def test_nothing_that_fits_leaves_the_name() -> None:
    selection = Selection(torch.tensor([[0.1, 0.9], [0.2, 0.8]]))
    assert selection.chosen(0, (0, 1), 5) == [] and selection.chosen(1, (0, 1), 1) == [0]


def test_pictures_used_twice_are_refused() -> None:
    names, pool, pictures, labels = planted(0, 8)
    with pytest.raises(RequestError, match="used both"):
        ensembling_control(names, pool, (pictures, labels), (pictures[:8], labels[:8]), weights=(0,), draws=2)
    with pytest.raises(RequestError, match="no picture to choose"):
        ensembling_control(names, pool, (pictures[:2], labels[:2]), (pictures[80:], labels[80:]), weights=(0,), draws=2)


# -- texts of one picture ------------------------------------------------------------------------------------------


def test_a_picture_finds_the_text_written_for_it_within_its_class() -> None:
    draw = torch.Generator().manual_seed(0)
    own = functional.normalize(torch.randn(40, DIM, generator=draw), dim=1)
    labels = torch.arange(40) % 2
    texts = [[f"text {number}" for number in range(40) if number % 2 == one] for one in range(2)]
    embeddings = [own[labels == one] for one in range(2)]
    pictures = functional.normalize(own + 0.05 * torch.randn(40, DIM, generator=draw), dim=1)
    found = match_texts(pictures, labels, texts, embeddings)
    assert sum(each[0].text == f"text {at}" for at, each in enumerate(found.texts)) >= 36
    assert all(one.text in texts[int(label)] for each, label in zip(found.texts, labels, strict=True) for one in each)
    assert found.cosine > found.random_cosine and all(len(each) == 5 for each in found.texts)
    with pytest.raises(RequestError, match="no texts"):
        match_texts(pictures, labels, [[], texts[1]], embeddings)

"""Is it the same map when the picture is moved, saved again or stained anew, and when chance is drawn again?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.engine import Evidence
from pellucid.errors import RequestError
from pellucid.images.shifts import restained, saved_as_jpeg
from pellucid.registry import metric
from pellucid.subject.clips import by_frame
from pellucid.trust.likeness import likeness
from pellucid.trust.measured import Maps, Measured, Remake, spread_of
from pellucid.trust.removal import blanked
from pellucid.trust.robustness import STABLE
from pellucid.values.seed import Seed

Move = Callable[[Float[Tensor, "batch channel h w"]], Float[Tensor, "batch channel h w"]]
_Colours = Float[Tensor, "batch channel h w"]

MOVES = ("mirror", "crop")
SHIFTS = ("jpeg", "stain")


@metric(
    "equivariance", better="higher", paper="Wang et al. 2020", range=(-1.0, 1.0), remakes=True,
    cost=lambda moves=MOVES, **_: len(moves),
)  # fmt: skip
def equivariance(
    evidence: Evidence, maps: Maps, remake: Remake, *, moves: Sequence[str] = MOVES, side: float = 0.8,
    alike: str = "spearman",
) -> Measured:  # fmt: skip
    """How alike the map of the moved picture and the moved map are.

    moves:   `mirror` swaps left and right; `crop` keeps the middle and brings it to the size of the whole
    side:    of the crop, in parts of the picture's
    alike:   `spearman`, `absolute_spearman` (without signs), `pearson`, `ssim` or `hog`
    returns: mean over the moves: 1 for a map that follows the picture. The spread is that over the moves

    The target stays what it was. Wang et al., Self-Supervised Equivariant Attention Mechanism, CVPR 2020, ask it of
    class activation maps.
    """
    if not 0 < side < 1:
        raise RequestError(f"side={side}; expected a part of the picture's side, above 0 and below 1.")
    moved = {name: _MOVES[name](side) for name in _known("moves", moves, _MOVES)}
    frames = evidence.model.frames

    def pairs() -> Iterator[tuple[Maps, Maps]]:
        for move in moved.values():
            here = {name: by_frame(values[:, None], frames, move)[:, 0] for name, values in maps.items()}
            yield here, remake(inputs=by_frame(evidence.inputs, frames, move))

    return _compared(maps, pairs(), list(moved), alike, notes=("the centre follows a mirror and stays in a crop",))


@metric(
    "shift_stability", better="higher", paper="Tellez et al. 2019", range=(-1.0, 1.0), remakes=True,
    cost=lambda shifts=SHIFTS, **_: len(shifts),
)  # fmt: skip
def shift_stability(
    evidence: Evidence, maps: Maps, remake: Remake, *, shifts: Sequence[str] = SHIFTS, quality: int = 50,
    strength: float = 0.05, alike: str = "spearman", seed: int = 0,
) -> Measured:  # fmt: skip
    """How alike the maps of the picture and of the same picture from another camera or laboratory are.

    shifts:   `jpeg` saves the picture as JPEG and opens it again; `stain` changes the amounts of haematoxylin, eosin
              and DAB of which its colours are read as mixed, for pictures that are no slides a shift of colour
    quality:  of the JPEG, 1 to 100
    strength: of the stain: every amount is multiplied by 1 ± this at most and raised by ± this at most; 0.05 is the
              light one of Tellez et al., 0.2 the strong one
    alike:    as for `equivariance`
    returns:  mean over the shifts, 1 for the same map; the spread is that over the shifts

    The target stays what it was. Raises RequestError for a stain of grey pictures. Tellez et al., Quantifying the
    Effects of Data Augmentation and Stain Color Normalization, Medical Image Analysis 2019.
    """
    if not 1 <= quality <= 100 or not 0 <= strength < 1:
        raise RequestError(
            f"quality={quality}, strength={strength}; expected a quality of 1 to 100 and a strength of 0 to below 1."
        )
    shift: Mapping[str, Move] = {
        "jpeg": lambda colours: _saved(colours, quality),
        "stain": lambda colours: _stained(colours, strength, Seed(seed)),
    }
    asked = _known("shifts", shifts, shift)
    changed = (remake(inputs=_in_colours(evidence, shift[name])) for name in asked)
    return _compared(maps, ((maps, after) for after in changed), asked, alike, notes=(STABLE,))


@metric(
    "seed_stability", better="higher", paper="Alvarez-Melis & Jaakkola 2018; Visani et al. 2022", range=(-1.0, 1.0),
    remakes=True, cost=lambda samples=3, **_: samples,
)  # fmt: skip
def seed_stability(
    evidence: Evidence, maps: Maps, remake: Remake, *, samples: int = 3, alike: str = "spearman"
) -> Measured:
    """How alike maps of the same picture are that differ in the seed of their chance alone.

    samples: other seeds
    alike:   as for `equivariance`
    returns: mean likeness with the map as it was; 1 for methods without chance. The spread is that over the seeds
    """
    if samples < 1:
        raise RequestError(f"samples={samples}; expected at least 1.")
    again = (int(evidence.seed.child("again", index)) for index in range(samples))
    pairs = ((maps, remake(seed=seed)) for seed in again)
    return _compared(
        maps, pairs, [str(index) for index in range(samples)], alike, notes=("1 says that no chance is in it",)
    )


def _compared(
    maps: Maps, pairs: Iterable[tuple[Maps, Maps]], labels: Sequence[str], alike: str, *, notes: tuple[str, ...]
) -> Measured:  # fmt: skip
    """The mean likeness of pairs, each of all maps."""
    how = likeness(alike)
    found = [{name: how.measure(here[name], there[name]) for name in here} for here, there in pairs]
    rows = blanked({name: torch.stack([one[name] for one in found]) for name in maps}, maps)
    return Measured(
        values={name: row.mean(dim=0) for name, row in rows.items()},
        spread=spread_of(rows),
        curves={name: {"of": list(labels), "likeness": row.T[None].tolist()} for name, row in rows.items()},
        unit=how.words,
        notes=notes,
    )


def _known(keyword: str, asked: Sequence[str], table: Mapping[str, object]) -> list[str]:
    if not asked or not all(name in table for name in asked):
        raise RequestError(f"{keyword}={tuple(asked)}; expected some of {', '.join(table)}.")
    return list(asked)


def _cropped(side: float) -> Move:
    def crop(values: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        size = values.shape[-2:]
        kept = [max(1, round(side * length)) for length in size]
        top, left = ((length - part) // 2 for length, part in zip(size, kept, strict=True))
        inside = values[..., top : top + kept[0], left : left + kept[1]]
        return interpolate(inside, size=size, mode="bilinear", align_corners=False)

    return crop


_MOVES: Mapping[str, Callable[[float], Move]] = {"mirror": lambda _: lambda values: values.flip(-1), "crop": _cropped}


def _in_colours(evidence: Evidence, change: Move) -> Tensor:
    """The model's inputs after a change of their colours, 0 black to 1 white."""
    black = evidence.fill("black").cpu().float()
    span = evidence.fill("white").cpu().float() - black
    colours = (evidence.inputs.cpu().float() - black) / span
    # Inputs that are no colours, or that a resize took a little too far, are squeezed into 0..1 and taken back.
    low = colours.amin(dim=(1, 2, 3), keepdim=True).clamp(max=0)
    wide = colours.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1) - low
    changed = by_frame((colours - low) / wide, evidence.model.frames, change)
    return ((changed * wide + low) * span + black).to(evidence.inputs)


def _saved(colours: _Colours, quality: int) -> _Colours:
    pixels = (colours * 255).round().to(torch.uint8).movedim(1, -1)
    grey = pixels.shape[-1] == 1
    opened = torch.from_numpy(saved_as_jpeg((pixels[..., 0] if grey else pixels).numpy(), quality))
    return (opened[..., None] if grey else opened).movedim(-1, 1).float() / 255


def _stained(colours: _Colours, strength: float, seed: Seed) -> _Colours:
    if colours.shape[1] != 3:
        raise RequestError("A stain changes colours, and these pictures are grey: shifts=('jpeg',) leaves it out.")
    drawn = 2 * torch.rand(2, 3, generator=seed.child("stain").generator()) - 1
    factors, offsets = 1 + strength * drawn[0], strength * drawn[1]
    return restained(colours, factors.expand(len(colours), -1), offsets.expand(len(colours), -1))

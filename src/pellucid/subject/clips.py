"""Films as model input: the frames of a film one below another are a tall picture, and nothing of it is lost.

So whatever reads a gradient, changes inputs or streams batches works on films as it does on pictures. What has to know
where one frame ends asks the model for `frames`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pellucid.errors import ModelError, ShapeError

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel


class Filmstrip(nn.Module):
    """A net over films [batch channel frame height width], asked with strips [batch channel frame*height width]."""

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.net, self.frames = net, frames

    def forward(self, strips: Float[Tensor, "batch channel rows width"]) -> Any:
        return self.net(as_films(strips, self.frames))


def wrap_clips(net: nn.Module, *, frames: int, size: tuple[int, int], **wrapping: Any) -> VisionModel:
    """A net over films [batch channel frame height width], ready to be explained; it is never changed.

    frames:   how many frames a film has
    size:     rows and columns of one frame
    wrapping: as `pl.wrap` has it; `preprocess` is that of one frame

    Raises ModelError for a number of frames or a size that cannot be.
    """
    from pellucid.subject.model import wrap

    if not all(isinstance(length, int) and length > 0 for length in (frames, *size)):
        raise ModelError(f"frames={frames!r}, size={size!r}; expected whole numbers above 0.")
    wrapping.setdefault("name", type(net).__name__)
    strip = Filmstrip(net, frames).train(net.training)
    layer = wrapping.pop("default_layer", None)
    named = f"net.{layer}" if layer else None
    return wrap(strip, input_size=(frames * size[0], size[1]), default_layer=named, **wrapping)


def as_strips(films: Float[Tensor, "batch channel frame height width"]) -> Float[Tensor, "batch channel rows width"]:
    """Films as model input. Raises ShapeError for what is no film."""
    if films.ndim != 5:
        raise ShapeError("The films", got=tuple(films.shape), expected="[batch channel frame height width]",
                         remedy="One film is film[None].")  # fmt: skip
    return films.flatten(2, 3)


def as_films(
    strips: Float[Tensor, "batch channel rows width"], frames: int
) -> Float[Tensor, "batch channel frame height width"]:
    """Model input as films. Raises ShapeError where the rows are no whole number for each frame."""
    if strips.ndim != 4 or strips.shape[2] % frames:
        raise ShapeError("The input of a model of films", got=tuple(strips.shape),
                         expected=f"[batch channel rows width], the rows of {frames} frames one below another",
                         remedy="as_strips makes them from [batch channel frame height width].")  # fmt: skip
    return strips.unflatten(2, (frames, strips.shape[2] // frames))


def by_frame(
    strips: Float[Tensor, "batch channel rows width"], frames: int, change: Callable[[Tensor], Tensor]
) -> Float[Tensor, "batch channel rows width"]:
    """Strips whose frames were changed as pictures of their own; a picture is a film of one frame."""
    if frames == 1:
        return change(strips)
    films = as_films(strips, frames).transpose(1, 2)
    changed = change(films.flatten(0, 1)).unflatten(0, tuple(films.shape[:2]))
    return changed.transpose(1, 2).flatten(2, 3)


def spread_in_time(
    grids: Float[Tensor, "batch cells w"], instants: int, frames: int, size: tuple[int, int]
) -> Float[Tensor, "batch rows width"]:
    """Grids over time, `instants` of them one below another, brought to a strip of `size`: trilinear, frame by frame.

    size: rows and columns of the whole strip
    """
    films = grids.unflatten(1, (instants, grids.shape[1] // instants))[:, None]
    wanted = (frames, size[0] // frames, size[1])
    return interpolate(films, size=wanted, mode="trilinear", align_corners=False)[:, 0].flatten(1, 2)

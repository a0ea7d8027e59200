"""What a model returns, understood: which tensor is the answer, and what its numbers mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import AmbiguousOutput, ModelError

Activation = Literal["softmax", "sigmoid", "probabilities", "none"]
_USUAL_KEYS = ("logits", "logits_per_image", "out", "output", "outputs", "pred", "preds", "prediction", "predictions",
               "scores", "class_logits", "y")  # fmt: skip
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Outputs:
    """How to read a model's return value.

    pick:       a key, a position, a callable, or None to find the one tensor that can be the answer
    activation: what turns the numbers into probabilities; `probabilities` are that already
    binary:     one number per picture; it is read as two classes, [-z, z] for a logit, [1-p, p] for a probability
    """

    pick: str | int | Callable[[Any], Tensor] | None = None
    activation: Activation = "softmax"
    binary: bool = False

    def read(self, raw: Any, batch: int) -> Float[Tensor, "batch classes"]:
        """The answer as float32 [batch classes]. Raises AmbiguousOutput, ModelError."""
        answer = _two_dimensional(find(raw, batch, self.pick), batch).float()
        if not self.binary:
            return answer
        against = 1 - answer if self.activation == "probabilities" else -answer
        return torch.cat([against, answer], dim=1)

    def probabilities(self, outputs: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Each class's probability, 0 to 1; the outputs themselves where they have no such meaning."""
        if self.activation == "softmax":
            return outputs.softmax(dim=-1)
        return outputs.sigmoid() if self.activation == "sigmoid" else outputs


def find(raw: Any, batch: int, pick: str | int | Callable[[Any], Tensor] | None) -> Tensor:
    """The tensor in `raw` that is the answer for a batch of that size. Raises AmbiguousOutput, ModelError."""
    return _scores(_found(raw, batch, pick))


def _found(raw: Any, batch: int, pick: str | int | Callable[[Any], Tensor] | None) -> Tensor:
    if callable(pick):
        return _tensor(pick(raw))
    if isinstance(raw, Tensor):
        return raw
    if hasattr(raw, "__array__"):
        return _from_array(raw)
    found = dict(_tensors(raw))
    if pick is not None:
        if str(pick) not in found:
            raise AmbiguousOutput(_shapes(found))
        return found[str(pick)]
    candidates = {key: value for key, value in found.items() if _could_be_answer(value, batch)}
    for key in _USUAL_KEYS:
        if key in candidates:
            return candidates[key]
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    raise AmbiguousOutput(_shapes(found))


def guess(raw: Any, batch: int, pick: Any, last_module: str) -> Outputs:
    """How to read a model from one answer it gave and the class name of the module that ran last."""
    answer = _two_dimensional(find(raw, batch, pick), batch).detach().float()
    binary = answer.shape[1] == 1
    positive = bool((answer >= 0).all() and (answer <= 1).all())
    sums_to_one = positive and bool(((answer.sum(dim=1) - 1).abs() < _SUM_TOLERANCE).all())
    if last_module in ("Sigmoid", "Softmax") or (sums_to_one and not binary):
        return Outputs(pick, "probabilities", binary)
    return Outputs(pick, "sigmoid" if binary else "softmax", binary)


def _tensors(raw: Any) -> Iterator[tuple[str, Tensor]]:
    if dataclasses.is_dataclass(raw) and not isinstance(raw, (type, Mapping)):
        raw = {field.name: getattr(raw, field.name) for field in dataclasses.fields(raw)}
    fields = getattr(raw, "_fields", None)
    if isinstance(raw, tuple) and fields is not None:
        raw = dict(zip(fields, raw, strict=True))
    if isinstance(raw, Sequence) and not isinstance(raw, str):
        raw = {str(position): value for position, value in enumerate(raw)}
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            if isinstance(value, Tensor):
                yield str(key), value


def _could_be_answer(value: Tensor, batch: int) -> bool:
    flat = value.ndim <= 2 or value.shape[2:].numel() == 1
    return value.is_floating_point() and value.ndim >= 1 and value.shape[0] == batch and flat


def _shapes(found: Mapping[str, Tensor]) -> dict[str, str]:
    return {key: str(list(value.shape)) for key, value in found.items()}


def _tensor(answer: Any) -> Tensor:
    if isinstance(answer, Tensor):
        return answer
    if hasattr(answer, "__array__"):
        return _from_array(answer)
    raise ModelError(f"`output` picked a {type(answer).__name__} from the model's answer; expected a tensor.")


def _from_array(answer: Any) -> Tensor:
    try:
        return torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(answer, "dtype", type(answer).__name__)
        raise ModelError(
            f"The model answers with an array of {kind}; expected numbers, one row per picture."
        ) from error


def _scores(answer: Tensor) -> Tensor:
    """The same. Raises ModelError where these can be no scores of classes."""
    shape = list(answer.shape)
    if answer.is_complex():
        raise ModelError(f"The model's answer of shape {shape} is {answer.dtype}; expected real numbers.")
    if not answer.is_floating_point() and answer.shape[1:].numel() == 1:
        raise ModelError(
            f"The model's answer of shape {shape} is {answer.dtype}, one whole number per picture: the class it chose, "
            f"not how it rates each class. Return the scores from which it chooses (those before argmax)."
        )
    return answer


def _two_dimensional(answer: Tensor, batch: int) -> Tensor:
    if answer.ndim == 0 or answer.shape[0] != batch:
        raise ModelError(
            f"The model answered {batch} pictures with a tensor of shape {list(answer.shape)}; expected one row per "
            f"picture, [{batch} classes]."
        )
    if answer.ndim == 1:
        return answer[:, None]
    if 0 in answer.shape[1:]:
        raise ModelError(f"The model's answer has shape {list(answer.shape)}: it has no classes to explain.")
    if answer.ndim > 2 and answer.shape[2:].numel() == 1:
        return answer.flatten(1)
    if answer.ndim > 2:
        raise ModelError(
            f"The model's answer has shape {list(answer.shape)}, a value per place; pellucid explains one value per "
            f"picture. Pick or reduce it: pl.wrap(model, output=lambda answer: answer.mean((2, 3)))."
        )
    return answer

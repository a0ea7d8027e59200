"""What a model asks of torch while it answers, seen call by call, and what kind of operation each name stands for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Watching(ABC):
    """Is given every call of torch by `hooks.functions`, and takes those over that read the picture.

    What lies before and after the model's own run, such as reading its answer, goes on as it is.
    """

    def __init__(self) -> None:
        self._on = False

    @contextmanager
    def over(self, leaf: Tensor) -> Iterator[None]:
        """While the model runs on `leaf`."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def watch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs what is asked; for `hooks.functions`."""
        reading = [tensor for tensor in tensors_in([*args, *kwargs.values()]) if reads(tensor)]
        if not self._on or not reading or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        return self.run(func, str(getattr(func, "__name__", func)), args, kwargs, reading)

    @abstractmethod
    def run(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], reading: Sequence[Tensor]
    ) -> Any:
        """Runs an operation that reads the picture, by the tensors `reading`, with the backward that is wanted."""


def carries(answer: Any) -> bool:
    """Whether anything of the picture goes on in it as a gradient does; in a comparison or a place it does not."""
    return any(tensor.requires_grad for tensor in tensors_in(answer))


def reads(tensor: Tensor) -> bool:
    """Whether it depends on the picture: weights are frozen while a pass is recorded."""
    return tensor.requires_grad and not isinstance(tensor, nn.Parameter)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor among the arguments of an operation."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from tensors_in(entry)


MATRIX = {"matmul", "__matmul__", "__rmatmul__", "bmm"}
PRODUCTS = {*MATRIX, "mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply", "einsum", "addcmul"}
QUOTIENTS = {"div", "div_", "__truediv__", "__itruediv__", "true_divide", "divide"}
COPIES = {"clone", "contiguous", "to", "float", "double", "half", "bfloat16", "type", "type_as", "dropout", "identity",
           "alias", "detach", "view_as", "reshape_as"}  # fmt: skip
AFFINE = {"sub", "__sub__", "add", "__add__", "__radd__", "mul", "__mul__", "__rmul__", "div", "__truediv__",
           "sub_", "add_", "mul_", "div_", "__isub__", "__iadd__", "__imul__", "__itruediv__"}  # fmt: skip
# By these a norm written out divides or multiplies; they only say how much passes.
LENGTHS = {"norm", "vector_norm", "linalg_vector_norm", "var", "std", "sqrt", "rsqrt", "reciprocal"}
# What hands relevance on as it does a gradient: views, sums, pools, rectifiers and other activations (whose backward
# `hooks` changes), and what only asks about a tensor.
AS_GRADIENTS = {
    *COPIES, *AFFINE, "__rsub__", "rsub", "neg", "__neg__", "__get__", "size", "dim", "numel", "stride",
    "ndimension", "is_floating_point", "is_complex", "data_ptr", "is_contiguous", "requires_grad_", "storage_offset",
    "__len__", "__bool__", "is_nested", "get_device", "element_size", "view", "reshape", "flatten", "unflatten",
    "permute", "transpose", "transpose_", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "squeeze", "squeeze_",
    "unsqueeze", "unsqueeze_", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "cat",
    "concat", "concatenate", "stack", "hstack", "vstack", "split", "chunk", "tensor_split", "unbind", "narrow",
    "select", "__getitem__", "index_select", "take_along_dim", "gather", "roll", "pad", "flip", "fliplr", "flipud",
    "rot90", "unfold", "fold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "masked_fill", "masked_fill_", "masked_select", "where", "tril", "triu", "mean", "sum", "cumsum", "diagonal",
    "trace", "amax", "max", "topk", "sort", "max_pool1d", "max_pool2d", "max_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "boolean_dispatch", "fn", "interpolate", "upsample", "dropout1d",
    "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "drop_path", "relu", "relu_", "relu6", "leaky_relu",
    "leaky_relu_", "clamp", "clamp_", "clamp_min", "clamp_min_", "hardtanh_", "gelu", "silu", "hardswish", "mish",
    "elu", "elu_", "selu", "celu", "softplus", "prelu", "maximum", "minimum", "addmm", "baddbmm", "isfinite", "isnan",
    "any", "all", "equal", "item", "tolist", "cpu", "numpy", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor", "zeros_like", "ones_like", "full_like", "empty_like", *LENGTHS, "pow", "__pow__", "square",
}  # fmt: skip

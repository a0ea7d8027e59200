"""Picture towers taken apart into what writes into their residual stream, whatever library they come from.

A tower is read here once, so that everything else sees blocks, a last norm and a readout, and no library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid import hooks
from pellucid.errors import TowerUnsupported

Tokens = Float[Tensor, "batch token width"]


@dataclass(frozen=True, eq=False)
class Attending:
    """One block before norm: what its attention and its MLP add to the stream.

    name:  dotted name of the block within the tower
    norm:  what attention reads through
    split: normalised tokens -> queries, keys, values, each [batch head token channel]
    scale: factor of the dot products
    out, out_bias: the linear map after the heads [width head*channel], and what it adds [width]; layer scale included
    mlp:   what the MLP adds
    """

    name: str
    heads: int
    norm: Callable[[Tensor], Tensor]
    split: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    scale: float
    out: Float[Tensor, "width inner"]
    out_bias: Float[Tensor, "width"]
    mlp: Feeding


@dataclass(frozen=True, eq=False)
class Feeding:
    """A block's MLP, its norm and layer scale included: a memory whose keys say how much of which value is added."""

    norm: nn.Module
    net: nn.Module
    scale: nn.Module | None = None

    def __call__(self, tokens: Tokens) -> Tokens:
        added = self.net(self.norm(tokens))
        return added if self.scale is None else self.scale(added)

    def keys(self, tokens: Tokens) -> Float[Tensor, "batch token key"]:
        """What the last linear map is given."""
        given: list[Tensor] = []
        name, _ = self._last
        with hooks.watched(self.net, [name], lambda _name, _call, _module, inputs, _output: given.append(inputs[0])):
            self.net(self.norm(tokens))
        return given[0]

    @property
    def values(self) -> Float[Tensor, "width key"]:
        """What each key adds."""
        name, linear = self._last
        return _scaled(linear.weight, linear.bias, self.scale, name)[0]

    @property
    def _last(self) -> tuple[str, nn.Linear]:
        linears = [(name, one) for name, one in self.net.named_modules() if isinstance(one, nn.Linear)]
        if not linears:
            raise TowerUnsupported(type(self.net).__name__, "it ends in no linear map, so it adds no values by keys.")
        return linears[-1]


@dataclass(frozen=True, eq=False)
class Readout:
    """How tokens become the embedding: a weighted mean of normalised tokens, then a linear map.

    parts: (weight per token, matrix [dim width]), one for each kind of token that is read
    bias:  added at the end [dim]
    norm:  the last LayerNorm; None where there is none
    after: whether the norm comes after the mean
    """

    parts: tuple[tuple[Callable[[int], Float[Tensor, "token"]], Float[Tensor, "dim width"]], ...]
    bias: Float[Tensor, "dim"]
    norm: nn.LayerNorm | None
    after: bool = False


@dataclass(frozen=True, eq=False)
class Tower:
    """A vision transformer as a sum.

    begin:  pictures -> tokens as they enter the first block
    prefix: tokens before those of the grid
    """

    begin: Callable[[Tensor], Tokens]
    blocks: tuple[Attending, ...]
    readout: Readout
    prefix: int


def read_tower(network: nn.Module) -> Tower:
    """The parts of a picture tower: the testbed's, open_clip's, CLIP-like ones of transformers, timm's.

    Raises TowerUnsupported, with the reason, for towers whose output is no sum of what their blocks write.
    """
    for fits, read in _READERS:
        if fits(network):
            return read(network)
    raise TowerUnsupported(
        type(network).__name__, "it is no vision transformer of a kind whose parts are known here: the testbed's dual, "
        "open_clip's VisionTransformer, CLIP-like models of transformers, timm's VisionTransformer.",
    )  # fmt: skip


def _testbed(network: Any) -> Tower:
    width = network.norm.normalized_shape[0]
    matrix, bias = network.head.weight, network.head.bias
    parts: list[tuple[Callable[[int], Tensor], Tensor]] = [(_first, matrix[:, :width])]
    if matrix.shape[1] == 2 * width:  # class token beside the mean of the patches
        parts.append((_mean_from(1), matrix[:, width:]))

    def begin(pictures: Tensor) -> Tensor:
        patches = network.stem(network.normalise(pictures)).flatten(2).transpose(1, 2)
        return torch.cat([network.cls_token.expand(len(patches), -1, -1), patches], dim=1) + network.pos_embed

    blocks = tuple(
        _timm_like(f"blocks.{depth}", block, block.attn.num_heads) for depth, block in enumerate(network.blocks)
    )
    return Tower(begin, blocks, Readout(tuple(parts), bias, network.norm), prefix=1)


def _open_clip(network: Any) -> Tower:
    if network.attn_pool is not None:
        raise TowerUnsupported("open_clip's VisionTransformer", "it pools by attention, after which comes a norm.")
    if network.pool_type not in ("tok", "avg"):
        raise TowerUnsupported("open_clip's VisionTransformer", f"it pools by {network.pool_type!r}.")
    blocks: list[Attending] = []
    for depth, block in enumerate(network.transformer.resblocks):
        if type(block).__name__ != "ResidualAttentionBlock":
            raise TowerUnsupported(type(block).__name__, "its attention is scaled or normalised inside the block.")
        attention, name = block.attn, f"transformer.resblocks.{depth}"
        out, out_bias = _scaled(attention.out_proj.weight, attention.out_proj.bias, block.ls_1, name)
        blocks.append(
            Attending(
                name, attention.num_heads, block.ln_1, _joint(attention.in_proj_weight, attention.in_proj_bias,
                                                              attention.num_heads),
                attention.head_dim**-0.5, out, out_bias, Feeding(block.ln_2, block.mlp, block.ls_2),
            )
        )  # fmt: skip
    matrix = (
        network.proj.T if network.proj is not None else torch.eye(len(network.ln_post.weight)).to(network.conv1.weight)
    )
    weights = _first if network.pool_type == "tok" else _mean_from(1)
    readout = Readout(
        ((weights, matrix),), matrix.new_zeros(len(matrix)), _layer_norm(network.ln_post), network.final_ln_after_pool
    )
    return Tower(network._embeds, tuple(blocks), readout, prefix=1)  # noqa: SLF001  the one name it has for this


def _open_clip_on_timm(network: Any) -> Tower:
    tower = read_tower(network.trunk)
    matrix: Tensor | None = None
    for part in network.head.modules():
        if isinstance(part, nn.Linear) and matrix is None:
            matrix, bias = part.weight, _bias_of(part)
            readout = tower.readout
            tower = Tower(
                tower.begin, tower.blocks,
                Readout(
                    tuple((weights, matrix @ before) for weights, before in readout.parts),
                    matrix @ readout.bias + bias, readout.norm, readout.after,
                ),
                tower.prefix,
            )  # fmt: skip
        elif not isinstance(part, (nn.Sequential, nn.Identity, nn.Dropout)):
            raise TowerUnsupported(
                "open_clip's TimmModel", f"its head holds a {type(part).__name__}: it is not linear."
            )
    return tower


def _picture_side(network: Any) -> Tower:
    vision = network.vision_model
    vision = getattr(vision, "vision_model", vision)
    if getattr(vision, "head", None) is not None:
        raise TowerUnsupported(
            type(vision).__name__, "it pools by attention and passes the result through an MLP: no sum of its parts."
        )
    if not hasattr(vision, "post_layernorm") or not hasattr(vision.encoder, "layers"):
        raise TowerUnsupported(type(vision).__name__, "its layers are not built like CLIP's.")
    blocks: list[Attending] = []
    for depth, block in enumerate(vision.encoder.layers):
        attention, name = block.self_attn, f"vision_model.encoder.layers.{depth}"
        if not hasattr(attention, "out_proj") or not hasattr(attention, "q_proj"):
            raise TowerUnsupported(type(attention).__name__, "its attention is not built like CLIP's.")
        blocks.append(
            Attending(
                name, attention.num_heads, block.layer_norm1,
                _apart(attention.q_proj, attention.k_proj, attention.v_proj, attention.num_heads),
                float(attention.scale), attention.out_proj.weight, _bias_of(attention.out_proj),
                Feeding(block.layer_norm2, block.mlp),
            )
        )  # fmt: skip

    def begin(pictures: Tensor) -> Tensor:
        tokens = vision.embeddings(pictures)
        before = getattr(vision, "pre_layrnorm", None) or getattr(vision, "pre_layernorm", None)
        return tokens if before is None else before(tokens)

    width = len(vision.post_layernorm.weight)
    projection = getattr(network, "visual_projection", None)
    matrix = projection.weight if projection is not None else torch.eye(width).to(vision.post_layernorm.weight)
    bias = _bias_of(projection) if projection is not None else matrix.new_zeros(width)
    # the class token is taken first and normalised then, which is the same as the other way round
    return Tower(begin, tuple(blocks), Readout(((_first, matrix),), bias, _layer_norm(vision.post_layernorm)), prefix=1)


def _timm(network: Any) -> Tower:
    kind = "timm's VisionTransformer"
    if network.attn_pool is not None:
        raise TowerUnsupported(kind, "it pools by attention and passes the result through an MLP: no sum of its parts.")
    pool, prefix = network.global_pool, int(network.num_prefix_tokens)
    if pool not in ("token", "avg"):
        raise TowerUnsupported(kind, f"it pools by {pool!r}, which is not linear in its tokens or no single embedding.")
    two_norms = not isinstance(network.norm, nn.Identity) and not isinstance(network.fc_norm, nn.Identity)
    if two_norms:
        raise TowerUnsupported(kind, "it normalises twice before its head.")
    after = isinstance(network.norm, nn.Identity)
    width = int(network.embed_dim)
    head = network.head
    if not isinstance(head, (nn.Linear, nn.Identity)):
        raise TowerUnsupported(kind, f"its head is a {type(head).__name__}: it is not linear.")
    like = next(network.parameters())
    matrix = head.weight if isinstance(head, nn.Linear) else torch.eye(width).to(like)
    bias = _bias_of(head) if isinstance(head, nn.Linear) else matrix.new_zeros(width)
    weights = _first if pool == "token" else _mean_from(0 if network.pool_include_prefix else prefix)

    def begin(pictures: Tensor) -> Tensor:
        return network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(pictures))))  # noqa: SLF001  as above

    blocks: list[Attending] = []
    for depth, block in enumerate(network.blocks):
        if type(block).__name__ != "Block":
            raise TowerUnsupported(type(block).__name__, "it is no plain block with the norm before each part.")
        attention = block.attn
        inner = [getattr(attention, name, None) for name in ("norm", "gate")]
        if any(part is not None and not isinstance(part, nn.Identity) for part in inner):
            raise TowerUnsupported(type(attention).__name__, "it normalises or gates what its heads give together.")
        blocks.append(_timm_like(f"blocks.{depth}", block, attention.num_heads))
    norm = network.fc_norm if after else network.norm
    return Tower(begin, tuple(blocks), Readout(((weights, matrix),), bias, _layer_norm(norm), after), prefix)


def _timm_like(name: str, block: Any, heads: int) -> Attending:
    attention = block.attn
    out, out_bias = _scaled(attention.proj.weight, attention.proj.bias, getattr(block, "ls1", None), name)
    split = _joint(attention.qkv.weight, attention.qkv.bias, heads)
    normed = [getattr(attention, which, None) for which in ("q_norm", "k_norm")]

    def normalised(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = split(tokens)
        query, key = (each if norm is None else norm(each) for each, norm in zip((query, key), normed, strict=True))
        return query, key, value

    scale = float(attention.scale)
    mlp = Feeding(block.norm2, block.mlp, getattr(block, "ls2", None))
    return Attending(name, heads, block.norm1, normalised, scale, out, out_bias, mlp)


def _joint(weight: Tensor, bias: Tensor | None, heads: int) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    def split(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joint = nn.functional.linear(tokens, weight, bias).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return joint[0], joint[1], joint[2]

    return split


def _apart(
    query: nn.Module, key: nn.Module, value: nn.Module, heads: int
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    def split(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (part(tokens).unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value))
        return q, k, v

    return split


def _scaled(weight: Tensor, bias: Tensor | None, scale: Any, name: str) -> tuple[Tensor, Tensor]:
    """The output map with the block's layer scale inside."""
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    if scale is None or isinstance(scale, nn.Identity):
        return weight, bias
    gain = getattr(scale, "gamma", None)
    if not isinstance(gain, Tensor):
        raise TowerUnsupported(f"{name}: {type(scale).__name__}", "what it does to the attention's output is unknown.")
    return weight * gain[:, None], bias * gain


def _bias_of(linear: Any) -> Tensor:
    return linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias


def _layer_norm(norm: nn.Module) -> nn.LayerNorm | None:
    if isinstance(norm, nn.Identity):
        return None
    if not isinstance(norm, nn.LayerNorm):
        raise TowerUnsupported(type(norm).__name__, "the last norm is no LayerNorm, which alone is shared out here.")
    return norm


def _first(tokens: int) -> Tensor:
    weights = torch.zeros(tokens)
    weights[0] = 1
    return weights


def _mean_from(start: int) -> Callable[[int], Tensor]:
    def weights(tokens: int) -> Tensor:
        shares = torch.zeros(tokens, dtype=torch.float64)
        shares[start:] = 1 / (tokens - start)
        return shares

    return weights


def _is(module: str, *names: str) -> Callable[[nn.Module], bool]:
    """Whether a network is of a library's class, without importing the library."""
    return lambda network: any(
        kind.__module__.startswith(module) and kind.__name__ in names for kind in type(network).__mro__
    )


_READERS: Sequence[tuple[Callable[[nn.Module], bool], Callable[[Any], Tower]]] = (
    (_is("pellucid.testbed.nets", "SmallViT"), _testbed),
    (_is("open_clip.transformer", "VisionTransformer"), _open_clip),
    (_is("open_clip.timm_model", "TimmModel"), _open_clip_on_timm),
    (lambda network: isinstance(cast(Any, getattr(network, "vision_model", None)), nn.Module), _picture_side),
    (_is("timm.models.vision_transformer", "VisionTransformer"), _timm),
)

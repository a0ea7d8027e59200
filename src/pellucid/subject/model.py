"""VisionModel: a trained model under study, and the one way in, `wrap`."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid import hooks
from pellucid.compute.memory import Budget, halving
from pellucid.errors import MethodUnavailable, ModelError, PellucidError, PreprocessError, ShapeError, TargetError
from pellucid.images.frame import Frame
from pellucid.results.model_card import ModelCard
from pellucid.subject import outputs, places, targets, timm_config
from pellucid.subject.clips import Filmstrip
from pellucid.subject.labels import Labels
from pellucid.subject.layers import LayerTree, first_tensor, probe, to_grid
from pellucid.subject.loaders import dense
from pellucid.subject.outputs import Activation, Outputs
from pellucid.subject.places import Places
from pellucid.values import Preprocess, Seed, Target

_USUAL_SIZE = (224, 224)
_UNKNOWN_SAMPLE_BYTES = 64 * 2**20
_PROBE_SPREAD = 0.5
_BACKBONE = "the last layer of its backbone, from which its maps of all scales come"


class VisionModel:
    """A trained model as pellucid sees it: never changed, only asked.

    name, spec:   what it is called, and the words that load it again (None where wrapped by hand)
    module:       the caller's own module; None for a black box (a callable, ONNX, HTTP)
    network:      the module that runs: `module` without its DataParallel or torch.compile shell
    preprocess:   how a picture becomes input; None where unknown
    text_encoder: text -> [channel] embedding, for dual encoders; their image embedding is the layer `embedding`
    explainers:   files of explainers that were fitted to it, by the method that reads them
    """

    def __init__(
        self, call: nn.Module | Callable[[Tensor], Any], *, name: str, spec: str | None, preprocess: Preprocess | None,
        labels: Sequence[str] | Labels | None, output: Any, activation: str, input_size: tuple[int, int] | None,
        default_layer: str | None, why_layer: str | None, text_encoder: Callable[[str], Tensor] | None,
        notes: Sequence[str], explainers: Mapping[str, str | Path],
    ) -> None:  # fmt: skip
        self.module = call if isinstance(call, nn.Module) else None
        self.network = _unwrapped(call) if isinstance(call, nn.Module) else None
        self.name, self.spec, self.preprocess, self.notes = name, spec, preprocess, tuple(notes)
        self.text_encoder = text_encoder
        self.explainers = {method: Path(file).expanduser() for method, file in explainers.items()}
        self._call = call
        self._pick, self._asked_activation = output, activation
        self._asked_labels = labels
        self._default_layer, self._why_layer = default_layer, why_layer
        self._input_size = input_size
        self._trees: dict[tuple[int, int], LayerTree] = {}
        self._outputs: Outputs | None = None
        self._labels: Labels | None = None
        self._guard = threading.RLock()
        self._fingerprint: tuple[object, str] | None = None
        # What the engine has proved of its operations, by layer and size; see pellucid.engine.suffix.
        self.programs: dict[Hashable, Any] = {}

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def differentiable(self) -> bool:
        """Whether gradients and layers can be read; a black box has neither."""
        return self.network is not None and not isinstance(self.network, torch.jit.ScriptModule)

    @property
    def device(self) -> torch.device:
        first = self._first_parameter()
        return first.device if first is not None else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        first = self._first_parameter()
        return first.dtype if first is not None and first.is_floating_point() else torch.float32

    @property
    def channels(self) -> int:
        """Colour channels of its input: 3, or 1 for a model of grey pictures."""
        if self.network is not None:
            for module in self.network.modules():
                if isinstance(module, nn.Conv2d):
                    return module.in_channels if module.in_channels in (1, 3, 4) else 3
        return 3

    @property
    def frames(self) -> int:
        """How many frames a film has that it takes; a model of pictures takes one."""
        return self.network.frames if isinstance(self.network, Filmstrip) else 1

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Rows and columns of its input, where it says so."""
        if self._input_size is not None:
            return self._input_size
        if self.preprocess is not None and self.preprocess.size is not None:
            return self.preprocess.size
        return _declared_size(self.network) if self.network is not None else None

    @property
    def outputs(self) -> Outputs:
        """How its answers are read."""
        with self._guard:
            if self._outputs is None:
                self._look_at_answer(self._probe_input(self.input_size or _USUAL_SIZE)[:1])
            assert self._outputs is not None
            return self._outputs

    @property
    def activation(self) -> Activation:
        """What turns its outputs into probabilities: softmax, sigmoid; `probabilities` are that already."""
        return self.outputs.activation

    @property
    def labels(self) -> Labels:
        """The names of its classes; numbered where it has none."""
        with self._guard:
            if self._labels is None:
                self._look_at_answer(self._probe_input(self.input_size or _USUAL_SIZE)[:1])
            assert self._labels is not None
            return self._labels

    @property
    def texts(self) -> bool:
        """Whether its classes are texts of a dual encoder."""
        return self.text_encoder is not None

    @property
    def layers(self) -> LayerTree:
        """Its layers at its own input size."""
        return self.layers_at(self.input_size or _USUAL_SIZE)

    def layers_at(self, size: tuple[int, int]) -> LayerTree:
        """Its layers for inputs of `size` (rows, columns), from one probing pass that is remembered.

        Raises MethodUnavailable for a black box, ModelError where the model cannot run at that size.
        """
        if self.network is None or not self.differentiable:
            kind = "a scripted module" if self.network is not None else "a black box"
            raise MethodUnavailable(
                "Reading layers", f"it is {kind}: it has no layers to look into.", ("occlusion", "rise")
            )
        with self._guard:
            if size not in self._trees:
                inputs = self._probe_input(size)
                network = self.network
                run = lambda raw: outputs.find(raw, len(inputs), self._pick).flatten(1).float()
                self._trees[size] = self.guarded(
                    size, lambda: probe(network, inputs, run, self._default_layer, self._why_layer)
                )
            return self._trees[size]

    @property
    def sample_bytes(self) -> int:
        """What one sample's activations take while gradients are kept; a guess for a black box."""
        if not self.differentiable:
            return _UNKNOWN_SAMPLE_BYTES
        known = next(iter(self._trees.values()), None) or self.layers
        return max(1, known.footprint.outputs)

    @property
    def fingerprint(self) -> str:
        """A short hash of its weights (of its file or its name, for a black box), the same on every machine."""
        if self.network is None and isinstance(told := getattr(self._call, "fingerprint", None), str):
            return told
        if self.network is None:
            return hashlib.blake2b(f"{self.spec or self.name}".encode(), digest_size=8).hexdigest()
        tensors = [*self.network.parameters(), *self.network.buffers()]
        version = tuple((value.data_ptr(), getattr(value, "_version", 0)) for value in tensors)
        if self._fingerprint is None or self._fingerprint[0] != version:
            digest = hashlib.blake2b(digest_size=8)
            state = {key: value for key, value in self.network.state_dict().items() if isinstance(value, Tensor)}
            for key, value in state.items():
                digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            self._fingerprint = (version, digest.hexdigest())
        return self._fingerprint[1]

    @property
    def card(self) -> ModelCard:
        """What results remember of it; of its layers, what a probing pass has shown by then."""
        tree = next(iter(self._trees.values()), None)
        return ModelCard(
            name=self.name, spec=self.spec, fingerprint=self.fingerprint,
            kind=type(self.network).__name__ if self.network is not None else "black box",
            classes=len(self.labels), dtype=str(self.dtype).removeprefix("torch."), notes=self.notes,
            default_layer=tree.default.name if tree and tree.default else "", why_layer=tree.why if tree else "",
        )  # fmt: skip

    def __repr__(self) -> str:
        kind = "" if self.differentiable else ", black box"
        return f"VisionModel({self.name}, {len(self.labels)} classes{kind})"

    # -- asking ---------------------------------------------------------------------------------------------------

    def prepare(self, frames: Sequence[Frame]) -> Float[Tensor, "batch channel height width"]:
        """Pictures as model input, float32 on the model's device. Raises PreprocessError where that is unknown."""
        if self.preprocess is None:
            raise PreprocessError(self.name)
        wanted = self.preprocess
        pictures, _ = halving(lambda _: [frame.input(wanted) for frame in frames], 1)  # says so where they do not fit
        sizes = {tuple(picture.shape[-2:]) for picture in pictures}
        if len(sizes) > 1:
            raise ShapeError("The batch of pictures", got=sorted(sizes), expected="pictures that become one input size",
                             remedy="Give them one at a time, or a preprocess with a size.")  # fmt: skip
        batch = torch.stack(pictures)
        return (batch.mean(dim=1, keepdim=True) if self.channels == 1 else batch).to(self.device)

    def check_input(self, inputs: Tensor) -> Float[Tensor, "batch channel height width"]:
        """`inputs` as a float32 tensor of our own on the model's device.

        Raises ShapeError, TargetError for integers and for values that are not finite.
        """
        if inputs.ndim != 4 or 0 in inputs.shape:
            raise ShapeError("The model input", got=inputs.shape, expected="[batch 3 height width], none of them 0",
                             remedy="One picture is inputs[None].")  # fmt: skip
        if inputs.shape[1] not in (1, 3, 4):
            nhwc = inputs.shape[-1] in (1, 3)
            raise ShapeError("The model input", got=inputs.shape, expected="[batch 3 height width]",
                             remedy="Channels come second: inputs.permute(0, 3, 1, 2)." if nhwc else "")  # fmt: skip
        if inputs.layout != torch.strided or inputs.is_meta:
            raise ShapeError(f"The model input ({inputs.layout}, on {inputs.device})", got=inputs.shape,
                             expected="an ordinary tensor that holds its numbers")  # fmt: skip
        if not inputs.is_floating_point():
            raise ShapeError(f"The model input of dtype {inputs.dtype}", got=inputs.shape, expected="a float tensor",
                             remedy="For pictures of 0..255 use pl.read, or divide by 255 and normalise.")  # fmt: skip
        with torch.inference_mode(False):
            ours = inputs.detach().clone().to(self.device, torch.float32)
        if not bool(ours.abs().amax().isfinite()):  # a tenth of the time of isfinite().all()
            raise ShapeError("The model input, which holds values that are not finite,", got=inputs.shape,
                             expected="finite numbers")  # fmt: skip
        return ours

    def run(self, inputs: Tensor) -> Any:
        """One raw pass, as the caller's mode of gradients has it, in the model's own dtype."""
        ours = inputs.to(self.dtype) if self.network is not None else inputs
        if self.network is None:
            return self._call(ours)
        return self.network(ours)

    def predict(self, inputs: Float[Tensor, "batch channel height width"], budget: Budget | None = None) -> Tensor:
        """Its outputs, float32 [batch classes], without gradients, in batches that fit the budget."""
        if self._outputs is None:
            self._look_at_answer(inputs[:1])
        size = (budget or Budget.of(None, self.device)).batch(self.sample_bytes, self.device)
        answers, start = [], 0
        while start < len(inputs):
            answer, size = halving(lambda count, at=start: self.outputs_of(inputs[at : at + count]), size)
            answers.append(answer)
            start += len(answer)
        return torch.cat(answers)

    def probabilities(self, outputs: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Outputs as probabilities, 0 to 1; the outputs themselves where they have no such meaning."""
        return self.outputs.probabilities(outputs)

    def resolve(self, asked: Any, batch: int) -> tuple[Target, ...]:
        """One target per picture, names resolved; see `pellucid.subject.targets.resolve`."""
        return targets.resolve(self, asked, batch)

    def with_module(self, module: nn.Module) -> VisionModel:
        """The same reading (preprocess, labels, layers, outputs) of another module of the same architecture."""
        other = copy.copy(self)
        other.module = other.network = module
        mine = {"_call": module, "_fingerprint": None, "_guard": threading.RLock(), "_trees": dict(self._trees)}
        vars(other).update({**mine, "programs": {}})
        return other

    def target_name(self, target: Target) -> str:
        """The target in a reader's words."""
        return targets.in_words(self, target)

    def embed(self, reference: Any, layer: str | None) -> Float[Tensor, "channel"]:
        """The output (or a layer's mean over its grid) for a reference picture, as one vector."""
        inputs = self.prepare([reference]) if isinstance(reference, Frame) else self.check_input(reference)
        if len(inputs) != 1:
            raise TargetError(f"A reference is one picture; got {len(inputs)}.")
        if layer is None:
            return self.predict(inputs)[0]
        address = self.layers_at((int(inputs.shape[-2]), int(inputs.shape[-1])))[layer]
        return to_grid(self.read_layer(inputs, address.name), address)[0].flatten(1).mean(dim=1)

    def read_layer(self, inputs: Float[Tensor, "batch channel height width"], name: str) -> Tensor:
        """What a layer puts out, as the model makes it but float32, without gradients."""
        assert self.network is not None
        kept: list[Tensor | None] = []

        def keep(_name: str, call: int, _module: nn.Module, _inputs: Any, output: Any) -> None:
            kept.append(first_tensor(output))

        module, _, call = name.partition("#")
        with hooks.guest(self.network), torch.no_grad(), hooks.watched(self.network, [module], keep):
            self._answered(inputs)
        found = kept[int(call or 1) - 1]
        assert found is not None
        return found.float()

    @property
    def places(self) -> Places | None:
        """What it answers for beside the picture as a whole, boxes or pixels; None where it is nothing."""
        return places.places_of(self)

    def finds(
        self, pictures: Frame | Sequence[Frame] | Tensor, *, least: float = 0.3
    ) -> tuple[tuple[Target, ...], ...]:
        """The boxes that a detector finds in each picture, or the regions of a segmenter, as targets; surest first.

        pictures: Frames, or model input [batch 3 height width]; least: the least probability of a box
        Raises MethodUnavailable for a model that answers for the picture as a whole.
        """
        if isinstance(pictures, Tensor):
            return places.finds(self, self.check_input(pictures), least=least)
        frames = [pictures] if isinstance(pictures, Frame) else list(pictures)
        return tuple(found for frame in frames for found in places.finds(self, self.prepare([frame]), least=least))

    def to(self, device: str | torch.device) -> VisionModel:
        """The same model on another device; this moves the caller's module, as the caller asked."""
        if self.network is None:
            raise ModelError(f"{self.name} is a black box; it runs where it runs and cannot move to {device}.")
        try:
            self.network.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"{self.name} cannot move to {device}: {str(error).splitlines()[0]}") from error
        self._trees.clear()
        self.programs.clear()
        return self

    # -- inside ---------------------------------------------------------------------------------------------------

    def _first_parameter(self) -> Tensor | None:
        if self.network is None:
            return None
        return next(self.network.parameters(), next(self.network.buffers(), None))

    def outputs_of(self, inputs: Tensor) -> Tensor:
        """Outputs without gradients, the model a guest."""
        if self.network is None:
            return self.outputs.read(self._answered(inputs), len(inputs)).detach().to(inputs.device)
        with hooks.guest(self.network), torch.inference_mode():
            answer = self.outputs.read(self._answered(inputs), len(inputs))
        return answer.clone()  # outside inference mode: an ordinary tensor

    def _answered(self, inputs: Tensor) -> Any:
        size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        return self.guarded(size, lambda: self.run(inputs))

    def guarded(self, size: tuple[int, int], run: Callable[[], Any]) -> Any:
        """What a model says when the input does not fit it, as one sentence."""
        try:
            return run()
        except (
            RuntimeError, ValueError, AssertionError, TypeError, LookupError, ArithmeticError, AttributeError
        ) as error:  # fmt: skip
            if isinstance(error, (torch.OutOfMemoryError, PellucidError)) or "memory" in str(error).lower():
                raise
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"{self.name} could not answer an input of {size[0]} x {size[1]} pixels: {type(error).__name__}: "
                f"{first} If the size is the reason, give the one it was trained for: "
                f"pl.wrap(model, input_size=(rows, columns))."
            ) from error

    def _probe_input(self, size: tuple[int, int]) -> Tensor:
        draw = Seed(0).child("probe").generator()
        noise, _ = halving(lambda _: torch.randn(2, self.channels, *size, generator=draw), 1)
        return (noise * _PROBE_SPREAD).to(self.device, self.dtype if self.network is not None else torch.float32)

    def _look_at_answer(self, inputs: Tensor) -> None:
        """Reads from one answer which tensor it is, what its numbers mean and how many classes there are."""
        if self.network is None:
            raw, last = self._answered(inputs.float()), ""
        else:
            last = ""

            def note(_name: str, _call: int, module: nn.Module, _inputs: Any, _output: Any) -> None:
                nonlocal last
                if not any(True for _ in module.children()):
                    last = type(module).__name__

            with hooks.guest(self.network), torch.inference_mode(), hooks.watched(self.network, None, note):
                raw = self._answered(inputs)
        found = outputs.guess(raw, len(inputs), self._pick, last)
        if self._asked_activation != "auto":
            found = Outputs(self._pick, self._asked_activation, found.binary)  # type: ignore[arg-type]
        count = found.read(raw, len(inputs)).shape[1]
        self._outputs, self._labels = found, _named(self._asked_labels, count, found.binary)


def wrap(
    model: nn.Module | Callable[[Tensor], Any],
    *,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | Labels | None = None,
    name: str | None = None,
    output: str | int | Callable[[Any], Tensor] | None = None,
    activation: str = "auto",
    input_size: tuple[int, int] | None = None,
    default_layer: str | None = None,
    why_layer: str | None = None,
    text_encoder: Callable[[str], Tensor] | None = None,
    spec: str | None = None,
    notes: Sequence[str] = (),
    explainers: Mapping[str, str | Path] | None = None,
) -> VisionModel:
    """A model of your own, ready to be explained; it is never changed.

    model:      any nn.Module, or any callable as a black box ([batch 3 height width] tensor in, [batch classes] out);
                detectors and segmenters of torchvision are read at their boxes and pixels, see `places`
    preprocess: how a picture becomes its input; None takes the module's own config (timm, torchvision weights), and
                where there is none only tensors that are model input already can be explained
    labels:     class names in the order of the output
    output:     which part of the model's answer to explain: a key, a position or a callable; None finds it
    activation: `softmax`, `sigmoid` (multi-label), `probabilities` (already), `none` (no such meaning); `auto` looks
    input_size: rows and columns of the input, where the module does not say
    explainers: files of explainers fitted to it (`attribution.fitted.fit`), by the method that reads them

    Raises ModelError for anything that cannot be called.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ModelError(f"pl.wrap got the class {model.__name__}; it takes a model: {model.__name__}(...).")
    if not callable(model):
        raise ModelError(f"pl.wrap takes an nn.Module or a callable; got {type(model).__name__}.")
    known = ("auto", "softmax", "sigmoid", "probabilities", "none")
    if activation not in known:
        raise ModelError(f"activation={activation!r} is not known; expected one of {', '.join(known)}.")
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        raise ModelError(f"preprocess is a {type(preprocess).__name__}; expected a pl.Preprocess.")
    if labels is not None and (not isinstance(labels, (Sequence, Labels)) or isinstance(labels, (str, bytes))):
        raise ModelError(f"labels is a {type(labels).__name__}; expected a list of names in the order of the output.")
    if input_size is not None and not _is_size(input_size):
        raise ModelError(f"input_size is {input_size!r}; expected two whole numbers above 0, (rows, columns).")
    name = name or _name_of(model)
    if isinstance(model, nn.Module) and (known := dense.seen(_unwrapped(model))) is not None:
        model, preprocess = known.module, preprocess or known.preprocess
        default_layer, why_layer = default_layer or known.default_layer, why_layer or _BACKBONE
        activation = known.activation if activation == "auto" else activation
    if preprocess is None and isinstance(model, nn.Module):
        preprocess = _own_preprocess(_unwrapped(model))
    return VisionModel(
        model, name=name, spec=spec, preprocess=preprocess, labels=labels, output=output,
        activation=activation, input_size=input_size, default_layer=default_layer, why_layer=why_layer,
        text_encoder=text_encoder, notes=notes, explainers=explainers or {},
    )  # fmt: skip


def _is_size(value: Any) -> bool:
    pair = isinstance(value, Sequence) and len(value) == 2
    return pair and all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in value)


def _name_of(model: Any) -> str:
    if isinstance(model, nn.Module):
        return type(_unwrapped(model)).__name__
    return getattr(model, "__name__", type(model).__name__)


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside a shell of torch.compile, DataParallel or DistributedDataParallel."""
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
            continue
        original = getattr(module, "_orig_mod", None)  # torch.compile's name for what it compiled
        if not isinstance(original, nn.Module):
            return module
        module = original


def _declared_size(network: nn.Module) -> tuple[int, int] | None:
    config = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if size is None and isinstance(config, dict) and config.get("input_size"):
        size = config["input_size"][-2:]
    if size is None:
        size = getattr(network, "image_size", None)
    if size is None:
        size = getattr(getattr(network, "config", None), "image_size", None)
    if isinstance(size, int):
        return (size, size)
    if isinstance(size, (tuple, list)) and len(size) == 2:
        return (int(size[0]), int(size[1]))
    return None


def _own_preprocess(network: nn.Module) -> Preprocess | None:
    """From timm's `pretrained_cfg`, the one config that travels with a bare module."""
    config = getattr(network, "pretrained_cfg", None)
    if not isinstance(config, dict) or not {"mean", "std", "input_size"} <= set(config):
        return None
    return timm_config.preprocess(config, _declared_size(network))


def _named(asked: Sequence[str] | Labels | None, count: int, binary: bool) -> Labels:
    if asked is None:
        return Labels(("negative", "positive")) if binary else Labels.numbered(count)
    names = list(asked)
    if binary and len(names) == 1:
        names = [f"not {names[0]}", names[0]]
    if len(names) != count:
        raise ModelError(f"{len(names)} labels for a model of {count} classes; expected one per class.")
    return asked if isinstance(asked, Labels) and list(asked) == names else Labels(names)

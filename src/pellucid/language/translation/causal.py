"""Any causal language model of transformers as a decoder: the prefix stands before the text as embeddings."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.errors import LoadError, MissingExtra, RequestError
from pellucid.language.translation.decoders import FILL, hash_of
from pellucid.values.place import leads_to, place_of

_REMEDY = "Give the name of a causal language model that transformers has in its cache, or a folder with one."
_LONGEST = 80


class CausalDecoder:
    """A causal language model with its tokenizer; it reads [begin, prefix, text] and knows nothing of pictures.

    model:     takes `inputs_embeds` and gives `logits` and `past_key_values`, as transformers' causal models do
    tokenizer: its tokenizer; it must have an end-of-text token
    """

    def __init__(self, model: Any, tokenizer: Any, spec: str = "", *, longest: int = _LONGEST) -> None:
        end = getattr(tokenizer, "eos_token_id", None)
        if end is None:
            raise RequestError("The tokenizer has no end-of-text token, so no sentence could end.")
        self.model, self.tokenizer, self.spec = model, tokenizer, spec
        table = model.get_input_embeddings().weight
        self.width, self.scale = int(table.shape[1]), float(table.detach().float().norm(dim=1).mean())
        self.end, self.longest = int(end), longest
        self._begin = getattr(tokenizer, "bos_token_id", None)

    @classmethod
    def opened(cls, name: str) -> CausalDecoder:
        """By name or folder; nothing is downloaded and no code of the folder runs.

        Raises LoadError for what cannot be opened, MissingExtra without transformers.
        """
        spec = f"hf:{name}"
        library = _library()
        place = str(place_of(name)) if leads_to(name) == "folder" else name
        try:
            model, tokenizer = (
                getattr(library, kind).from_pretrained(place, local_files_only=True, trust_remote_code=False)
                for kind in ("AutoModelForCausalLM", "AutoTokenizer")
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise LoadError(spec, f"it cannot be opened: {said[0][:200]}", _REMEDY) from error
        return cls(model.eval().requires_grad_(False), tokenizer, spec)

    @property
    def network(self) -> nn.Module:
        return self.model

    @property
    def fingerprint(self) -> str:
        return hash_of((name, value) for name, value in self.model.state_dict().items())

    def numbers(self, texts: Sequence[str]) -> Int64[Tensor, "text token"]:
        rows = [[*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end] for text in texts]
        longest = max(map(len, rows))
        if longest > self.longest:
            raise RequestError(f"A text of {longest} tokens is too long; the decoder speaks at most {self.longest}.")
        return torch.tensor([row + [FILL] * (longest - len(row)) for row in rows])

    def texts(self, numbers: Int64[Tensor, "text token"]) -> tuple[str, ...]:
        rows = [row[: row.index(self.end)] if self.end in row else row for row in numbers.tolist()]
        return tuple(str(self.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows)

    def logits(
        self, prefix: Float[Tensor, "text slot width"], numbers: Int64[Tensor, "text token"]
    ) -> Float[Tensor, "text token vocabulary"]:
        head = self._headed(prefix)
        said = self._embedded(numbers[:, :-1].clamp(min=0))
        # What is filled up stands after the text, so the words before it cannot see it.
        answered = self.model(inputs_embeds=torch.cat([head, said.to(head)], dim=1), use_cache=False)
        return answered.logits[:, head.shape[1] - 1 :]

    def begin(self, prefix: Float[Tensor, "text slot width"]) -> tuple[Float[Tensor, "text vocabulary"], Any]:
        answered = self.model(inputs_embeds=self._headed(prefix), use_cache=True)
        return answered.logits[:, -1], answered.past_key_values

    def step(self, numbers: Int64[Tensor, "text"], state: Any) -> tuple[Float[Tensor, "text vocabulary"], Any]:
        said = self._embedded(numbers[:, None])
        answered = self.model(inputs_embeds=said, past_key_values=state, use_cache=True)
        return answered.logits[:, -1], answered.past_key_values

    def _headed(self, prefix: Tensor) -> Float[Tensor, "text slot width"]:
        table = self.model.get_input_embeddings().weight
        own = prefix.to(table)
        if self._begin is None:
            return own
        begun = self._embedded(torch.full((len(prefix), 1), int(self._begin), device=own.device))
        return torch.cat([begun, own], dim=1)

    def _embedded(self, numbers: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(numbers)


def _library() -> Any:
    try:
        return importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise MissingExtra("transformers", "hf", "A language model of transformers") from error

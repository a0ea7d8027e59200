"""A narrator on this machine: a causal language model of `transformers`, or one that also sees the picture.

Weights come from a folder or as objects; nothing is downloaded and no code of the folder runs.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pellucid.errors import LoadError, MissingExtra
from pellucid.language.narrators.protocol import INSTRUCTIONS, Brief
from pellucid.values.place import place_of

_REMEDY = "Give a folder that save_pretrained wrote, with the model and its tokenizer."


class Local:
    """A language model with its tokenizer, or a model that sees with its processor, as a narrator.

    model:     has `generate`, as transformers' causal and image-text models do
    tokenizer: its tokenizer; for a model that sees, its processor
    sees:      whether it is shown the picture: None asks whether the processor takes pictures
    most_tokens: how much it may say
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", sees: bool | None = None, most_tokens: int = 400
    ) -> None:
        self._model, self._tokenizer, self._most_tokens = model, tokenizer, most_tokens
        self._sees = hasattr(tokenizer, "image_processor") if sees is None else sees
        self.name = f"hf:{name or type(model).__name__}"

    @classmethod
    def opened(cls, folder: str | Path, *, most_tokens: int = 400) -> Local:
        """The model in a folder. Raises LoadError for what is no such folder, MissingExtra without transformers."""
        place = place_of(folder)
        spec = f"hf:{place.name}"
        if not place.is_dir():
            raise LoadError(spec, "there is no folder of that name.", _REMEDY)
        library = _library()
        sees = (place / "preprocessor_config.json").exists() or (place / "processor_config.json").exists()
        kinds = ("AutoModelForImageTextToText", "AutoProcessor") if sees else ("AutoModelForCausalLM", "AutoTokenizer")
        try:
            model, tokenizer = (
                getattr(library, kind).from_pretrained(place, local_files_only=True, trust_remote_code=False)
                for kind in kinds
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise LoadError(spec, f"it cannot be opened: {said[0][:200]}", _REMEDY) from error
        return cls(model.eval(), tokenizer, name=place.name, sees=sees, most_tokens=most_tokens)

    def say(self, brief: Brief) -> str:
        """What the model goes on with after instructions and clues; the likeliest words, or drawn ones on a retry."""
        inputs = self._inputs(brief)
        given = inputs["input_ids"].shape[1]
        room = self._room(given)
        if room < 1:
            return ""
        chance = {"do_sample": False} if brief.attempt == 0 else {"do_sample": True, "top_p": 0.9}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(brief.attempt)
            spoken = self._model.generate(**inputs, max_new_tokens=room, **chance)
        return str(self._tokenizer.decode(spoken[0, given:], skip_special_tokens=True))

    def _inputs(self, brief: Brief) -> dict[str, Any]:
        text = self._prompt(brief)
        if self._sees and brief.frame is not None:
            picture = Image.fromarray(brief.frame.pixels)
            made = self._tokenizer(images=picture, text=text, return_tensors="pt")
        else:
            made = self._tokenizer(text, return_tensors="pt")
        device = next(iter(self._model.parameters())).device
        taken = ("input_ids", "attention_mask", "pixel_values")
        return {key: value.to(device) for key, value in made.items() if key in taken}

    def _prompt(self, brief: Brief) -> str:
        """In the model's own manner of talking, where it has one."""
        if not getattr(self._tokenizer, "chat_template", None):
            return brief.prompt
        shown: list[dict[str, Any]] = [{"type": "image"}] if self._sees and brief.frame is not None else []
        text = f"{INSTRUCTIONS}\n\n{brief.evidence}"
        content: Any = [*shown, {"type": "text", "text": text}] if self._sees else text
        return str(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        )

    def _room(self, given: int) -> int:
        """How many words may follow: what was allowed, as far as the model reaches."""
        config = self._model.config
        reach = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
        return self._most_tokens if reach is None else min(self._most_tokens, int(reach) - given)


def _library() -> Any:
    try:
        return importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise MissingExtra("transformers", "hf", "A narrator of this machine") from error

"""Small untrained transformers of other libraries, for pictures of 32 x 32 and five classes."""

from __future__ import annotations

from typing import Any

import pytest


def of_torchvision() -> Any:
    from torchvision.models import VisionTransformer

    return VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32,
                             num_classes=5)  # fmt: skip


def of_transformers() -> Any:
    library = pytest.importorskip("transformers")
    config = library.ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                               image_size=32, patch_size=8, num_labels=5)  # fmt: skip
    return library.ViTForImageClassification(config)

"""Every method, with parameters that make it quick."""

from __future__ import annotations

from typing import Any

from pellucid.registry import methods

QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 3},
    "smoothgrad_squared": {"samples": 3},
    "vargrad": {"samples": 3},
    "integrated_gradients": {"steps": 4, "most_steps": 4},
    "smooth_grad_cam_pp": {"samples": 2},
    "occlusion": {"window": 12, "stride": 9},
    "refined_occlusion": {"window": 8, "closer": 10},
    "rise": {"masks": 30},
    "lime": {"samples": 40, "segments": 16},
    "kernel_shap": {"samples": 40, "segments": 16},
}
# Their maps are differences of scores that may be a hundred times as large, so float32 leaves them fewer digits.
DIFFERENCES = ("occlusion", "refined_occlusion", "kernel_shap", "lime", "ablation_cam")
ATTENTION = ("attention_rollout", "chefer", "legrad")
RANDOM = ("smoothgrad", "smoothgrad_squared", "vargrad", "smooth_grad_cam_pp", "rise", "lime", "kernel_shap", "random")
NEEDS_RECTIFIERS = ("guided_backprop", "deconvnet", "guided_grad_cam")
ALL = sorted(name for name, method in methods().items() if method.question == "where")
CONVOLUTIONAL = [name for name in ALL if name not in ATTENTION]

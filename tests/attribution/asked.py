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
    "time_rise": {"masks": 30},
    "time_occlusion": {"window": 12, "stride": 9},
    "d_rise": {"masks": 30},
    "visual_precision_search": {"segments": 4},
    "lime": {"samples": 40, "segments": 16},
    "kernel_shap": {"samples": 40, "segments": 16},
    "sess": {"scales": 2},
    "msea": {"scales": (0.5, 1)},
    "refine_cam": {"base": "layer_cam"},
    "forgrad": {"steps": 2},
    "expected_gradients": {"samples": 10},
    "blur_ig": {"steps": 6},
    "guided_ig": {"steps": 5},
    "conductance": {"steps": 4},
    "internal_influence": {"steps": 4},
    "layer_integrated_gradients": {"steps": 4},
    "neuron_conductance": {"steps": 3},
    "exact_shapley": {"segments": 4},
    "owen": {"segments": 5},
    "sobol": {"samples": 4, "grid": 3},
    "eva": {"samples": 7, "grid": 2},
    "hsic": {"samples": 32, "grid": 3},
    "c_lime": {"samples": 40, "segments": 16},
    "xrai": {"steps": 3},
    "regional_multiscale": {"samples": 1, "cuts": (4, 9)},
    "meaningful_perturbation": {"updates": 3, "grid": 8, "jitter": 20},
    "extremal_perturbation": {"updates": 3},
    "fido": {"updates": 3, "segments": 12},
    "pixel_rde": {"updates": 3},
    "cartoonx": {"updates": 3},
    "waveletx": {"updates": 3},
    "shearletx": {"updates": 3, "levels": 2},
}
# Their maps are differences of scores that may be a hundred times as large, so float32 leaves them fewer digits.
DIFFERENCES = ("occlusion", "eva", "time_occlusion", "time_rise", "refined_occlusion", "kernel_shap", "lime",
               "ablation_cam", "exact_shapley", "owen",
               "sobol", "hsic", "c_lime", "forgrad", "regional_multiscale",
               "meaningful_perturbation", "extremal_perturbation", "fido", "pixel_rde", "cartoonx", "waveletx",
               "shearletx", "visual_precision_search")  # fmt: skip
ATTENTION = ("attention_rollout", "chefer", "legrad", "raw_attention", "attention_flow", "grad_eclip",
             "mmel", "class_embedding", "diff_mask", "prompt_cam", "ia_red")  # fmt: skip
RANDOM = ("smoothgrad", "smoothgrad_squared", "vargrad", "smooth_grad_cam_pp", "rise", "time_rise", "d_rise", "lime",
          "kernel_shap", "random",
          "sobol", "hsic", "c_lime", "expected_gradients",
          "regional_multiscale", "meaningful_perturbation", "fido", "pixel_rde", "cartoonx", "waveletx",
          "shearletx", "deep_shap")  # fmt: skip
NEEDS_RECTIFIERS = ("guided_backprop", "deconvnet", "guided_grad_cam")
ALL = sorted(name for name, method in methods().items() if method.question == "where")
CONVOLUTIONAL = [name for name in ALL if name not in ATTENTION]

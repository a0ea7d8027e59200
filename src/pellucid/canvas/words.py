"""Names and numbers as a reader writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

_TITLES = {
    "gradient_x_input": "Gradient × input", "guided_backprop": "Guided backpropagation", "deconvnet": "DeconvNet",
    "smoothgrad": "SmoothGrad", "smoothgrad_squared": "SmoothGrad²", "vargrad": "VarGrad", "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM", "grad_cam_pp": "Grad-CAM++", "smooth_grad_cam_pp": "Smooth Grad-CAM++",
    "eigen_cam": "Eigen-CAM", "eigen_grad_cam": "Eigen-Grad-CAM",
    "chefer": "Chefer relevance", "layer_cam": "LayerCAM", "hires_cam": "HiResCAM", "xgrad_cam": "XGrad-CAM",
    "score_cam": "Score-CAM", "ablation_cam": "Ablation-CAM", "fullgrad": "FullGrad", "normgrad": "NormGrad",
    "lrp": "LRP", "rise": "RISE", "d_rise": "D-RISE", "lime": "LIME", "kernel_shap": "KernelSHAP", "legrad": "LeGrad",
    "fem": "FEM", "kpca_cam": "KPCA-CAM", "seg_eigen_cam": "Seg-Eigen-CAM", "finer_cam": "Finer-CAM",
    "refine_cam": "Refine-CAM", "shapley_cam": "Shapley-CAM", "diff_mask": "DiffMask", "prompt_cam": "Prompt-CAM",
    "t_tame": "T-TAME", "ia_red": "IA-RED²", "meta_normgrad": "Meta-NormGrad",
    "normgrad_layers": "NormGrad over layers",
    "deep_lift": "DeepLIFT", "deep_shap": "DeepSHAP", "forgrad": "FORGrad", "owen": "Owen values",
    "exact_shapley": "Exact Shapley values", "blur_ig": "Blur IG", "guided_ig": "Guided IG", "sess": "SESS",
    "hsic": "HSIC", "xrai": "XRAI", "eva": "EVA", "sobol": "Sobol indices", "c_lime": "C-LIME", "fido": "FIDO",
    "cartoonx": "CartoonX", "shearletx": "ShearletX", "waveletx": "WaveletX", "pixel_rde": "Pixel RDE",
    "excitation_backprop": "Excitation backpropagation", "time_rise": "RISE over time",
    "time_occlusion": "Occlusion over time", "grad_eclip": "Grad-ECLIP",
    "mmel": "MMEL", "msea": "MSEA", "comet": "COMET", "piq": "PIQ", "intr": "INTR",
    "centre": "Centre of the picture", "edge": "Edges in the picture", "random": "Random map",
    "insertion_minus_deletion": "Insertion minus deletion", "mask_iou": "Mask IoU",
    "pixel_auc": "Pixel AUC", "road_morf": "ROAD, most relevant first", "road_lerf": "ROAD, least relevant first",
    "road": "ROAD", "aopc": "AOPC", "aopc_lerf": "AOPC, least relevant first", "adcc": "ADCC", "arcc": "ARCC",
    "mu_fidelity": "µFidelity", "robustness_sr": "Robustness-Sr", "sensitivity_n": "Sensitivity-n",
    "monotonicity_arya": "Monotonicity (Arya)", "monotonicity_nguyen": "Monotonicity (Nguyen)",
    "roar": "ROAR", "kar": "KAR",
}  # fmt: skip


def title(name: str) -> str:
    """A method or measure as its field writes it: `grad_cam` is Grad-CAM."""
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def percent(share: float) -> str:
    """A share of one in per cent; never 100% for what is less, never 0% for what is more."""
    if math.isnan(share):
        return "unknown"
    if 0 < share < 0.0005:
        return "under 0.1%"
    if 0.9995 <= share < 1:
        return "over 99.9%"
    digits = 1 if 0 < share < 0.01 or 0.99 <= share < 1 else 0
    return f"{share:.{digits}%}"


def number(value: float) -> str:
    """Three digits that matter."""
    return "unknown" if math.isnan(value) else f"{value:.3g}"


def tabular(value: float) -> str:
    """Three decimals, as many in every cell, so that a column can be read down; fewer for large numbers."""
    return number(value) if math.isnan(value) or abs(value) >= 100 else f"{value:.3f}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1] if words else ""


def shortened(text: str, length: int) -> str:
    """At most `length` characters, cut at a word where there is one."""
    if len(text) <= length:
        return text
    cut = text[: length - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[length // 2 :] else cut).rstrip(" ,;:") + "…"


def figures(measured: Mapping[str, Any]) -> dict[str, str]:
    """What was measured, for a reader: names without underscores, numbers with three digits."""
    return {name.replace("_", " "): _figure(value) for name, value in measured.items()}


def _figure(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, (int, np.integer)):
        return str(value)
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(_figure(entry) for entry in cast("list[Any]", value))
    return shortened(str(value), 80)

"""STGCN once more, from SPEC section 1: channel-last NumPy in double precision, one time step after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def temporal(x: np.ndarray, w: Weights, at: str, kt: int, activation: str) -> np.ndarray:
    """[B, T, N, c_in] -> [B, T - kt + 1, N, c_out]."""
    c_in = x.shape[-1]
    kernel, bias = w[f"{at}.weight"], w[f"{at}.bias"]
    c_out = len(bias) // 2 if activation == "glu" else len(bias)
    out = []
    for t in range(kt - 1, x.shape[1]):
        y = bias + sum(x[:, t - kt + 1 + k] @ kernel[k * c_in : (k + 1) * c_in] for k in range(kt))
        now = x[:, t]
        if c_in > c_out and activation != "sigmoid":
            residual = now @ w[f"{at}.residual"]
        else:
            residual = np.zeros((*now.shape[:-1], c_out))
            residual[..., :c_in] = now[..., :c_out]
        if activation == "glu":
            out.append((y[..., :c_out] + residual) * sigmoid(y[..., c_out:]))
        elif activation == "relu":
            out.append(np.maximum(y + residual, 0.0))
        else:
            out.append(sigmoid(y))
    return np.stack(out, axis=1)


def spatial(x: np.ndarray, w: Weights, at: str, basis: np.ndarray) -> np.ndarray:
    """[B, T, N, c] -> [B, T, N, c]: every node sums what the basis brings it, order by order."""
    c = x.shape[-1]
    y = np.zeros_like(x) + w[f"{at}.bias"]
    for order, matrix in enumerate(basis):
        y += np.einsum("nm,btmc,cd->btnd", matrix, x, w[f"{at}.weight"][order * c : (order + 1) * c])
    return np.maximum(y + x, 0.0)


def norm(x: np.ndarray, w: Weights, at: str) -> np.ndarray:
    out = np.empty_like(x)
    for place in np.ndindex(x.shape[:2]):
        step = x[place]
        variance = ((step - step.mean()) ** 2).mean()
        out[place] = (step - step.mean()) / np.sqrt(variance + 1e-6) * w[f"{at}.gamma"] + w[f"{at}.beta"]
    return out


def network(x: np.ndarray, w: Weights, basis: np.ndarray, blocks: int, kt: int, ko: int) -> dict[str, Any]:
    """``x [B, T, N, 1]`` -> prediction ``[B, T - n_his + 1, N]`` and the hidden features."""
    temporals, spatials = [], []
    for i in range(blocks):
        x = temporal(x, w, f"blocks.{i}.temporal_in", kt, "glu")
        temporals.append(x)
        x = spatial(x, w, f"blocks.{i}.spatial", basis)
        spatials.append(x)
        x = temporal(x, w, f"blocks.{i}.temporal_out", kt, "relu")
        temporals.append(x)
        x = norm(x, w, f"blocks.{i}.norm")
    x = norm(temporal(x, w, "head.temporal_in", ko, "glu"), w, "head.norm")
    x = temporal(x, w, "head.temporal_out", 1, "sigmoid")
    return {"prediction": (x @ w["head.weight"])[..., 0] + w["head.bias"], "temporal": temporals, "spatial": spatials}

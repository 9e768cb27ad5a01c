"""Which kernels a device can run."""

from __future__ import annotations

import importlib.util

import torch


def runs_triton(device: torch.device) -> bool:
    """Whether the Triton kernels (`asediff.kernels.cuda.backend`) run on a device: a GPU, and triton is installed."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None

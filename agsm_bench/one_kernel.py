"""1x1 convolutions that do not look at the batch, for an image must not depend on its company."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Convolution(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.dtype != torch.float32 or torch.compiler.is_compiling():
            return super().forward(input)
        padding = (0, 0)
        return torch.mkldnn_convolution(input, self.weight, self.bias, padding, self.stride, self.dilation, self.groups)


def use_one_kernel(model: nn.Module) -> None:
    """Has oneDNN do a model's 1x1 convolutions on the CPU, as it does all larger ones.

    torch by itself takes a kernel of its own, which rounds differently, for fewer than 16 rows on a single thread.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.padding == (0, 0):
            module.__class__ = _Convolution

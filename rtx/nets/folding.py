"""BatchNorm folded into the convolution before it: at inference the two are one."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> None:
    """Wherever a BatchNorm follows a convolution in a sequence, the convolution does both."""
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for number, (before, norm) in enumerate(itertools.pairwise(list(sequence))):
            holder, at = sequence, number
            while isinstance(before, nn.Sequential):  # Its last layer is the one that the BatchNorm follows.
                holder, at, before = before, len(before) - 1, before[-1]
            if isinstance(before, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                holder[at] = fuse_conv_bn_eval(before.eval(), norm.eval())
                sequence[number + 1] = nn.Identity()

"""Deep Taylor decomposition by zennit, which wants names of torchvision at import that it does not need here."""

from __future__ import annotations

import copy
import sys
from types import ModuleType

import torch
from torch import Tensor, nn


def _stand_in() -> None:
    """Modules with the few names that zennit reads, where torchvision is not."""
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet", "torchvision.models.vgg")
    modules = {name: ModuleType(name) for name in names}
    for module, wanted in (("resnet", ("Bottleneck", "BasicBlock", "ResNet")), ("vgg", ("VGG",))):
        for name in wanted:
            setattr(modules[f"torchvision.models.{module}"], name, type(name, (nn.Module,), {}))
    sys.modules.update({name: module for name, module in modules.items() if name not in sys.modules})


_stand_in()
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import SpecialFirstLayerMapComposite  # noqa: E402
from zennit.rules import Norm, Pass, ZBox, ZPlus  # noqa: E402
from zennit.types import Activation, AvgPool, Convolution, Linear  # noqa: E402


def deep_taylor(network: nn.Module, clip: Tensor, target: Tensor, low: float, high: float) -> Tensor:
    """Relevance of the clip: N C T H W."""
    network = copy.deepcopy(network).requires_grad_(True)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    plus = ZPlus(zero_params="bias")
    box = ZBox(torch.full_like(clip, low), torch.full_like(clip, high), zero_params="bias")
    layers = [(Activation, Pass()), (AvgPool, Norm()), (Convolution, plus), (Linear, plus)]
    composite = SpecialFirstLayerMapComposite(layers, [(Convolution, box)])
    with torch.no_grad():
        logits = network(clip)
    start = torch.zeros_like(logits).scatter(1, target[:, None], logits.gather(1, target[:, None]))
    with Gradient(model=network, composite=composite) as attributor:
        _, relevance = attributor(clip.clone().requires_grad_(), start)
    return relevance.detach()  # type: ignore[no-any-return]

"""Other packages' explainers, each as it is used by its own documentation: network and layer in, map out.

Some want names of torchvision or others at import that they do not need here; those get empty stand-ins.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

Peer = Callable[[Tensor, int], Tensor]
"""Clip and class to map."""

_STAND_INS = {
    "torchvision": ("transforms",), "torchvision.models": (),
    "torchvision.models.resnet": ("Bottleneck", "BasicBlock", "ResNet"), "torchvision.models.vgg": ("VGG",),
    "torchvision.transforms": ("Compose", "Normalize", "ToTensor"), "ttach": ("Compose", "HorizontalFlip", "Multiply"),
    "sklearn": (), "sklearn.decomposition": ("NMF", "KernelPCA"), "requests": (),
}  # fmt: skip


class _Empty(nn.Module):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


@contextmanager
def stand_ins() -> Iterator[None]:
    """While such a package is imported: what looks for these later shall not find them."""
    added = {name: ModuleType(name) for name in _STAND_INS if name not in sys.modules}
    for name, module in added.items():
        for attribute in _STAND_INS[name]:
            setattr(module, attribute, type(attribute, (_Empty,), {}))
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def prepared(network: nn.Module, in_place: bool = False) -> nn.Module:
    """A copy that takes gradients, as these packages want it; most want ReLUs that are not in place, too."""
    network = copy.deepcopy(network).requires_grad_(True)
    for module in network.modules():
        if isinstance(module, nn.ReLU) and not in_place:
            module.inplace = False
    return network


def torch_cam(network: nn.Module, layer: str, method: str) -> Peer:
    """`method`: GradCAM, GradCAMpp, LayerCAM or CAM."""
    from torchcam import methods

    network = prepared(network)
    extractor = getattr(methods, method)(network, target_layer=layer)

    def run(clip: Tensor, target: int) -> Tensor:
        scores = network(clip.clone().requires_grad_())
        return extractor(target, scores, normalized=False)[0]  # type: ignore[no-any-return]

    return run


def pytorch_grad_cam(network: nn.Module, layer: str, method: str) -> Peer:
    """`method`: GradCAM, GradCAMPlusPlus, FEM ... of pytorch-grad-cam."""
    with stand_ins():
        import pytorch_grad_cam as package
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = prepared(network)
    made = getattr(package, method)(model=network, target_layers=[network.get_submodule(layer)])

    def run(clip: Tensor, target: int) -> Tensor:
        return torch.from_numpy(made(input_tensor=clip, targets=[ClassifierOutputTarget(target)]))

    return run


def captum(network: nn.Module, layer: str, method: str) -> Peer:
    """`method`: Saliency, GuidedBackprop, GuidedGradCam, LayerGradCam. It classifies apart."""
    from captum import attr

    network = prepared(network)
    of_layer = (network.get_submodule(layer),) if method in ("LayerGradCam", "GuidedGradCam") else ()
    made = getattr(attr, method)(network, *of_layer)
    options = {"interpolate_mode": "trilinear"} if method == "GuidedGradCam" else {}

    def run(clip: Tensor, target: int) -> Tensor:
        with torch.no_grad():
            network(clip)
        found: Tensor = made.attribute(clip.clone().requires_grad_(), target=target, **options)
        return found.detach().abs().amax(dim=1)

    return run


def zennit_deep_taylor(network: nn.Module, low: float, high: float) -> Peer:
    """Deep Taylor decomposition by the composite that is that: EpsilonPlus and EpsilonGammaBox are not."""
    with stand_ins():
        from zennit.composites import SpecialFirstLayerMapComposite
        from zennit.core import BasicHook
        from zennit.layer import Sum
        from zennit.rules import NoMod, Norm, Pass, ZBox, ZPlus
        from zennit.types import Activation, AvgPool, Convolution, Linear

    plus = ZPlus(zero_params="bias")
    # Of branches that are added only what is positive counts; zennit's own `Norm` divides by a sum that may be zero.
    added = BasicHook(
        input_modifiers=[lambda x: x.clamp(min=0)], param_modifiers=[NoMod(param_keys=[])],
        output_modifiers=[lambda out: out], gradient_mapper=lambda given, outs: given / (outs[0] + 1e-30),
        reducer=lambda parts, gradients: parts[0] * gradients[0],
    )  # fmt: skip

    def composite(clip: Tensor) -> Any:
        box = ZBox(torch.full_like(clip, low), torch.full_like(clip, high), zero_params="bias")
        layers = [(Activation, Pass()), (AvgPool, Norm()), (Convolution, plus), (Linear, plus), (Sum, added)]
        return SpecialFirstLayerMapComposite(layers, [(Convolution, box)])

    return _zennit(network, composite)


def zennit_excitation(network: nn.Module, layer: str) -> Peer:
    """Excitation backprop from a probability of 1, stopped at a layer."""
    with stand_ins():
        from zennit.composites import ExcitationBackprop

    return _zennit(network, lambda clip: ExcitationBackprop(zero_params="bias"), layer)


def _zennit(network: nn.Module, composite: Callable[[Tensor], Any], layer: str | None = None) -> Peer:
    """With `layer`, a probability's relevance there, N t h w; else the score's in the clip, N T H W."""
    from zennit.attribution import Gradient

    network = prepared(network)

    def run(clip: Tensor, target: int) -> Tensor:
        with torch.no_grad():
            logits = network(clip)
        one = torch.zeros_like(logits)
        one[:, target] = 1
        kept: list[Tensor] = []
        with Gradient(model=network, composite=composite(clip)) as attributor:
            hook = None if layer is None else network.get_submodule(layer).register_forward_hook(_keeping(kept))
            _, relevance = attributor(clip.clone().requires_grad_(), one if layer else one * logits)
        if hook is not None:
            hook.remove()
            assert kept[0].grad is not None
            relevance = kept[0].grad
        return relevance.detach().sum(dim=1)  # type: ignore[no-any-return]

    return run


def _keeping(kept: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    def keep(module: nn.Module, given: Any, out: Tensor) -> None:
        out.retain_grad()
        kept[:] = [out]

    return keep

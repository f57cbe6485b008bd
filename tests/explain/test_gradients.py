"""Explainers that read gradients, against second writings in float64: differences, hooks, loops."""

from __future__ import annotations

import copy
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.errors import UserError
from rtx.explain.gradients import (
    cam3d,
    grad_cam,
    grad_cam_pp,
    guided_backprop,
    guided_grad_cam,
    layer_cam,
    p3dcam,
    saliency,
)
from rtx.explain.placing import upsample, upsample_layer
from rtx.explain.registry import DECLARED
from rtx.nets.forward import Forward, Staged
from tests.explain.nets import NETS, Plain, a_clip, a_net, forward_of

EVERY = (saliency, guided_backprop, grad_cam, grad_cam_pp, layer_cam, guided_grad_cam, cam3d, p3dcam)
kinds = pytest.mark.parametrize("kind", NETS)


def exact(kind: type[Staged], n: int = 2) -> Forward:
    return forward_of(a_net(kind, dtype=torch.float64), a_clip(n, dtype=torch.float64))


def layers_and_gradients(forward: Forward, names: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A and dy/dA: N K t h w each; with hooks, on a network of its own."""
    network = copy.deepcopy(forward.whole)
    kept: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(_module, _inputs, output):
            output = output.clone()
            output.retain_grad()
            kept[name] = output
            return output

        return hook

    for name in names:
        network.stages[name].register_forward_hook(keep(name))
    logits = network(forward.clip.clone().requires_grad_())
    logits[torch.arange(len(logits)), forward.target.clone()].sum().backward()
    return {name: (kept[name].detach().numpy(), kept[name].grad.numpy()) for name in names}  # type: ignore[union-attr]


@kinds
def test_saliency_is_the_largest_change_of_the_score(kind: type[Staged]):
    forward = exact(kind, n=1)
    found = saliency(forward)[0]
    target, step = int(forward.target[0]), 1e-6
    for t, y, x in [(0, 0, 0), (3, 12, 7), (7, 23, 23), (5, 4, 20)]:
        slopes = []
        for colour in range(3):
            scores = []
            for sign in (1, -1):
                clip = forward.clip.clone()
                clip[0, colour, t, y, x] += sign * step
                scores.append(float(forward.whole(clip)[0, target]))
            slopes.append(abs(scores[0] - scores[1]) / (2 * step))
        assert float(found[t, y, x]) == pytest.approx(max(slopes), rel=1e-4, abs=1e-9)


@kinds
def test_guided_backprop_cuts_negative_gradients_at_every_relu(kind: type[Staged]):
    forward = exact(kind)
    network = copy.deepcopy(forward.whole)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
            module.register_full_backward_hook(lambda _module, into, _out: (into[0].clamp(min=0),))
    clip = forward.clip.clone().requires_grad_()
    network(clip)[torch.arange(2), forward.target.clone()].sum().backward()
    assert clip.grad is not None
    torch.testing.assert_close(guided_backprop(forward), clip.grad.abs().amax(dim=1))


def for_captum(network: Staged) -> Staged:
    """It hooks ReLUs, which then must not work in place."""
    theirs = copy.deepcopy(network)
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return theirs


@pytest.mark.parametrize("kind", [Plain])
def test_guided_backprop_is_captums(kind: type[Staged]):
    """Of networks in which every ReLU is a module."""
    attr = pytest.importorskip("captum.attr", reason="pip install --no-deps captum==0.7.0")
    network, clip = a_net(kind).requires_grad_(True), a_clip()
    forward = forward_of(network, clip)
    theirs = for_captum(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = attr.GuidedBackprop(theirs).attribute(clip.clone().requires_grad_(), target=forward.target.clone())
    torch.testing.assert_close(guided_backprop(forward), expected.abs().amax(dim=1).detach())


def test_guided_grad_cam_is_captums_where_it_enlarges_alike():
    """Captum's Grad-CAM is signed until it is enlarged, and it enlarges evenly; so it is taken apart here."""
    attr = pytest.importorskip("captum.attr", reason="pip install --no-deps captum==0.7.0")
    network, clip = a_net(Plain).requires_grad_(True), a_clip()
    forward = forward_of(network, clip)
    theirs = for_captum(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        leaf, target = clip.clone().requires_grad_(), forward.target.clone()
        guided = attr.GuidedBackprop(theirs).attribute(leaf, target=target)
        where = attr.LayerGradCam(theirs, theirs.stages["three"]).attribute(leaf, target=target, relu_attributions=True)
    expected = upsample(forward, where[:, 0].detach()) * guided.abs().amax(dim=1).detach()
    torch.testing.assert_close(guided_grad_cam(forward), expected, rtol=1e-4, atol=1e-9)


def plain_grad_cam(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    relevance = np.zeros(a.shape[1:])
    for k in range(len(a)):
        relevance += g[k].mean() * a[k]
    return np.maximum(relevance, 0)


def plain_layer_cam(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    relevance = np.zeros(a.shape[1:])
    for k in range(len(a)):
        relevance += np.maximum(g[k], 0) * a[k]
    return np.maximum(relevance, 0)


def plain_grad_cam_pp(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    relevance = np.zeros(a.shape[1:])
    least = 1e-9 * (g**2).max()
    for k in range(len(a)):
        weight, total = 0.0, a[k].sum()
        for place in np.ndindex(a[k].shape):
            below = 2 * g[k][place] ** 2 + g[k][place] ** 3 * total
            if abs(below) > least:
                weight += g[k][place] ** 2 / below * max(g[k][place], 0)
        relevance += weight * a[k]
    return np.maximum(relevance, 0)


PLAIN = {grad_cam: plain_grad_cam, layer_cam: plain_layer_cam, grad_cam_pp: plain_grad_cam_pp}


@kinds
@pytest.mark.parametrize("explainer", PLAIN, ids=lambda of: of.__name__)
@pytest.mark.parametrize("counterfactual", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_maps_of_the_features_are_their_definitions(kind: type[Staged], explainer, counterfactual: bool, n: int):
    forward = exact(kind, n)
    last = list(forward.whole.stages)[-1]
    a, g = layers_and_gradients(forward, [last])[last]
    found = explainer(forward, counterfactual=counterfactual).numpy()
    for i in range(n):
        expected = PLAIN[explainer](a[i], -g[i] if counterfactual else g[i])
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-15)


@kinds
def test_grad_cam_is_torch_cams(kind: type[Staged]):
    cam = pytest.importorskip("torchcam.methods").GradCAM
    network, clip = a_net(kind).requires_grad_(True), a_clip(1)
    forward = forward_of(network, clip)
    with cam(network, network.stages[list(network.stages)[-1]], input_shape=tuple(clip.shape[1:])) as extractor:
        expected = extractor(int(forward.target[0]), network(clip), normalized=False)[0]
    torch.testing.assert_close(grad_cam(forward), expected.detach(), rtol=1e-4, atol=1e-7)


@kinds
@pytest.mark.parametrize("counterfactual", [False, True])
def test_3dcam_of_each_layer_and_their_sum(kind: type[Staged], counterfactual: bool):
    forward = exact(kind)
    names = list(forward.whole.stages)
    total = torch.zeros(())
    for name, (a, g) in layers_and_gradients(forward, names).items():
        product = torch.ones((), dtype=torch.float64)
        for of in (-g if counterfactual else g, a):
            summed = sum(of[:, k] for k in range(of.shape[1]))
            grown = upsample_layer(forward, name, torch.from_numpy(summed)).clamp(min=0)
            highest = grown.amax(dim=(1, 2, 3), keepdim=True)
            product = product * torch.where(highest > 0, grown / highest, 0.0)
        torch.testing.assert_close(cam3d(forward, layer=name, counterfactual=counterfactual), product)
        total = total + product
    torch.testing.assert_close(p3dcam(forward, counterfactual=counterfactual), total)
    mean = p3dcam(forward, aggregate="mean", counterfactual=counterfactual)
    torch.testing.assert_close(mean, total / len(names))


@kinds
def test_guided_grad_cam_is_the_product(kind: type[Staged]):
    forward = exact(kind)
    torch.testing.assert_close(
        guided_grad_cam(forward), upsample(forward, grad_cam(forward)) * guided_backprop(forward)
    )


@kinds
@pytest.mark.parametrize("explainer", EVERY, ids=lambda of: of.__name__)
def test_the_users_network_comes_back_as_it_was(kind: type[Staged], explainer):
    network = a_net(kind).requires_grad_(True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    hooks = [(len(m._forward_hooks), len(m._backward_hooks), m.training, set(m.__dict__)) for m in network.modules()]
    explainer(forward_of(network, a_clip()))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert hooks == [
        (len(m._forward_hooks), len(m._backward_hooks), m.training, set(m.__dict__)) for m in network.modules()
    ]


@kinds
@pytest.mark.parametrize("explainer", EVERY, ids=lambda of: of.__name__)
def test_it_runs_on_a_frozen_network_under_inference_mode(kind: type[Staged], explainer):
    forward = forward_of(a_net(kind), a_clip())
    outside = explainer(forward)
    with torch.inference_mode():
        torch.testing.assert_close(explainer(forward), outside)


@pytest.mark.parametrize("explainer", [guided_backprop, p3dcam], ids=lambda of: of.__name__)
def test_two_threads_explain_with_one_network(explainer):
    network = a_net(Plain)
    forwards = [forward_of(network, a_clip(1, seed)) for seed in range(2)]
    alone = [explainer(forward) for forward in forwards]
    found: dict[int, list[Tensor]] = {0: [], 1: []}

    def work(i: int) -> None:
        found[i] += [explainer(forwards[i]) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        assert len(found[i]) == 10
        for each in found[i]:
            torch.testing.assert_close(each, alone[i])


def test_a_layer_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="unknown layer 'thre': did you mean 'three'"):
        cam3d(exact(Plain), layer="thre")


def test_guided_backprop_refuses_a_network_of_other_activations():
    network = a_net(Plain)
    network.relu = nn.GELU()
    with pytest.raises(UserError, match="guided backprop needs ReLUs; this network has gelu"):
        guided_backprop(forward_of(network, a_clip(1)))


@pytest.mark.parametrize("explainer", EVERY, ids=lambda of: of.__name__)
def test_dead_features_give_zeros_and_no_nan(explainer):
    network = a_net(Plain)
    with torch.no_grad():
        network.stages["three"][0].bias.fill_(-100.0)
    found = explainer(forward_of(network, a_clip(1)))
    assert (found == 0).all()


def test_a_relu_in_place_whose_result_is_left_unused_is_guided_all_the_same():
    class InPlace(Plain):
        def classify(self, features: Tensor) -> Tensor:
            hidden = self.hidden(F.max_pool3d(features, 2).flatten(1))
            F.relu_(hidden)
            logits: Tensor = self.out(hidden)
            return logits

    clip = a_clip(2, dtype=torch.float64)
    usual, in_place = (forward_of(a_net(kind, dtype=torch.float64), clip) for kind in (Plain, InPlace))
    torch.testing.assert_close(guided_backprop(in_place), guided_backprop(usual))


@pytest.mark.parametrize("name", [name for name, of in DECLARED.items() if not of.is_step])
def test_one_pass_is_enough(name: str):
    """The pass that explains is the one that classifies."""
    network = a_net(NETS[1])
    passes = []
    first = network.stages["stem"][0]
    first.register_forward_hook(lambda *_: passes.append(1))
    forward = forward_of(network, a_clip(1))
    assert passes == []
    DECLARED[name].function(forward)
    assert forward.features.shape == (1, 10, 2, 6, 6)
    torch.testing.assert_close(forward.logits, network(forward.clip), rtol=1e-4, atol=1e-5)
    assert len(passes) == 2  # The second was the test's own.


@pytest.mark.parametrize(
    "relu", [lambda x: x.clamp(min=0), lambda x: torch.clamp(x, 0), lambda x: torch.clamp_min(x, 0), torch.relu]
)
def test_a_relu_by_another_name_is_guided(relu):
    class Named(Plain):
        def classify(self, features: Tensor) -> Tensor:
            logits: Tensor = self.out(relu(self.hidden(F.max_pool3d(features, 2).flatten(1))))
            return logits

    clip = a_clip(2, dtype=torch.float64)
    usual, named = (forward_of(a_net(kind, dtype=torch.float64), clip) for kind in (Plain, Named))
    torch.testing.assert_close(guided_backprop(named), guided_backprop(usual))


@pytest.mark.parametrize(
    "other", [lambda x: x.clamp(min=-1), lambda x: x.sigmoid_(), F.softsign, lambda x: F.leaky_relu_(x), torch.erf]
)
def test_what_is_no_relu_is_not_taken_for_one(other):
    class Other(Plain):
        def classify(self, features: Tensor) -> Tensor:
            logits: Tensor = self.out(other(self.hidden(F.max_pool3d(features, 2).flatten(1))))
            return logits

    with pytest.raises(UserError, match="guided backprop needs ReLUs; this network has"):
        guided_backprop(forward_of(a_net(Other), a_clip(1)))


def test_3dcam_without_a_layer_is_that_of_the_features():
    network, clip = a_net(NETS[1], dtype=torch.float64), a_clip(2, dtype=torch.float64)
    network.chosen = "one"
    forward = forward_of(network, clip)
    torch.testing.assert_close(cam3d(forward), cam3d(forward, layer="one"))
    assert cam3d(forward).abs().amax() > 0

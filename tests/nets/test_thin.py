"""The quicker gradient at a clip's few channels is torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rtx.nets import thin
from rtx.nets.thin import Thin

threes = st.tuples(*[st.integers(1, 4)] * 3)
paddings = st.tuples(*[st.integers(0, 3)] * 3)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size=st.tuples(*[st.integers(1, 11)] * 3), padding=paddings, kernel=threes, stride=threes,
    channels=st.integers(1, 8), n=st.integers(1, 2),
)  # fmt: skip
def test_the_gradient_of_the_input_is_torchs(size, kernel, stride, padding, channels, n):
    """Whatever the size, kernel, stride and padding, also where the last pixels are seen by nobody."""
    assume(all(s + 2 * p >= k for s, p, k in zip(size, padding, kernel, strict=True)))
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, channels, *size, dtype=torch.float64, generator=g)
    weight = torch.randn(5, channels, *kernel, dtype=torch.float64, generator=g)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    made, expected = (
        conv(of, weight, None, stride, padding) for conv, of in ((thin.conv3d, ours), (F.conv3d, theirs))
    )  # fmt: skip
    torch.testing.assert_close(made, expected)
    back = torch.randn(expected.shape, dtype=torch.float64, generator=g)
    made.backward(back)
    expected.backward(back)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    "about",
    [
        {"stride": 1}, {"stride": 2, "padding": "valid"}, {"stride": 2, "dilation": 2}, {"stride": (1, 2, 2)},
        {"stride": 1, "padding": "same"}, {"stride": 2, "groups": 3},
    ],
)  # fmt: skip
def test_in_its_mode_every_convolution_is_as_it_was(about: dict[str, object]):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 9, 8, dtype=torch.float64, generator=g)
    weight = torch.randn(6, 3 // int(about.get("groups", 1)), 3, 3, 3, dtype=torch.float64, generator=g)  # type: ignore[call-overload]
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    with Thin():
        made = F.conv3d(ours, weight, torch.ones(6, dtype=torch.float64), **about)
    expected = F.conv3d(theirs, weight, torch.ones(6, dtype=torch.float64), **about)
    torch.testing.assert_close(made, expected)
    made.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_weights_that_are_being_trained_keep_their_gradient():
    x, weight = torch.randn(1, 3, 4, 6, 6, requires_grad=True), torch.randn(5, 3, 3, 3, 3, requires_grad=True)
    thin.conv3d(x, weight, None, 2, 1).sum().backward()
    assert weight.grad is not None

"""Weights from outside: whole, and never able to run code."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rtx.errors import UserError
from rtx.nets import cards
from rtx.nets.weights import check, from_flax_i3d, read_arrays

MARK = Path(tempfile.gettempdir()) / f"rtx-test-{os.getpid()}"


class Malicious:
    def __reduce__(self):
        return (Path.touch, (MARK,))


def test_arrays_are_read(tmp_path: Path):
    tree = {"params": {"a": np.arange(4, dtype=np.float32)}}
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(tree))
    np.testing.assert_array_equal(read_arrays(tmp_path / "x.ckpt")["params"]["a"], np.arange(4))


def test_a_pickle_with_code_in_it_is_refused_unrun(tmp_path: Path):
    MARK.unlink(missing_ok=True)
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps({"params": Malicious()}))
    with pytest.raises(UserError, match="not a file of arrays"):
        read_arrays(tmp_path / "x.ckpt")
    assert not MARK.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps(np.zeros(900))[:-40]],
    ids=["empty", "no pickle", "a list", "cut off"],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.ckpt"):
        read_arrays(tmp_path / "x.ckpt")


def test_kernels_are_turned_to_o_i_t_h_w():
    kernel = np.random.default_rng(0).normal(size=(3, 5, 7, 2, 4)).astype(np.float32)
    beta = np.zeros((1, 1, 1, 4), np.float32)
    tree = {
        "params": {"L": {"Conv_0": {"kernel": kernel}, "BatchNorm_0": {"bias": beta}}},
        "batch_stats": {"L": {"BatchNorm_0": {"mean": beta, "var": beta}}},
    }
    arrays = from_flax_i3d(tree)
    assert arrays["L/kernel"][3, 1, 2, 4, 6] == kernel[2, 4, 6, 1, 3]
    assert arrays["L/mean"].shape == (4,)


@pytest.fixture
def other_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cards.Card:
    monkeypatch.setenv("RTX_CACHE", str(tmp_path))
    card = cards.card("i3d-k400")
    card.file.parent.mkdir(parents=True)
    return card


@pytest.mark.parametrize(
    "content", [b"", b"x" * 1000, pickle.dumps({"a": Malicious()})], ids=["empty", "no pickle", "code"]
)
def test_replaced_weights_are_noticed(other_cache: cards.Card, content: bytes):
    other_cache.file.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged or replaced.*rtx models pull i3d-k400"):
        check(other_cache)


def test_cut_off_weights_are_noticed(weights: Path, other_cache: cards.Card):
    other_cache.file.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        check(other_cache)


def test_absent_weights_say_how_to_get_them(other_cache: cards.Card):
    with pytest.raises(UserError, match="rtx models pull i3d-k400"):
        check(other_cache)


@pytest.mark.parametrize(("wanted", "index"), [("227", 227), ("playing cricket", 227), ("Playing Cricket", 227)])
def test_classes_by_name_and_number(wanted: str, index: int):
    assert cards.class_index(cards.card("i3d-k400").labels, wanted) == index


def test_unknown_names_bring_the_nearest():
    with pytest.raises(UserError, match="did you mean 'i3d-k400'"):
        cards.card("i3d-k40")
    with pytest.raises(UserError, match="did you mean 'playing cricket'"):
        cards.class_index(cards.card("i3d-k400").labels, "playing criket")
    for number in ("²", "--5"):
        with pytest.raises(UserError, match="unknown class"):
            cards.class_index(cards.card("i3d-k400").labels, number)
    with pytest.raises(UserError, match=r"0\.\.399"):
        cards.class_index(cards.card("i3d-k400").labels, "400")

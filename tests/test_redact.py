"""No password leaves rtx in any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtx.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:geheim@10.0.0.2/1", "rtsp://***@10.0.0.2/1"),
        ("rtsp://admin:geheim@10.0.0.2:554/1?x=1", "rtsp://***@10.0.0.2:554/1?x=1"),
        ("rtsp://admin@10.0.0.2/1", "rtsp://***@10.0.0.2/1"),
        ("rtsps://a:geheim@[::1]:8554/x", "rtsps://***@[::1]:8554/x"),
        ("http://cam/x?user=a&password=geheim&size=2", "http://cam/x?user=***&password=***&size=2"),
        ("http://cam/x?TOKEN=geheim", "http://cam/x?TOKEN=***"),
        ("http://cam/x?loginpass=geheim;pwd=geheim", "http://cam/x?loginpass=***;pwd=***"),
        ("http://cam/x?api_key=geheim#part", "http://cam/x?api_key=***"),
        ("cannot open 'rtsp://a:geheim@h/x': no", "cannot open 'rtsp://***@h/x': no"),
        ('got "rtsp://a:geheim@h/x"', 'got "rtsp://***@h/x"'),
        ("no file 'rtsp:/admin:geheim@10.0.0.2/1'", "no file 'rtsp:/***@10.0.0.2/1'"),
        ("http://cam/x?pw=geheim", "http://cam/x?pw=***"),
        ("rtsp://cam/user=admin_password=geheim_channel=1", "rtsp://cam/user=***"),
    ],
)
def test_a_secret_becomes_stars(text: str, shown: str):
    assert redact(text) == shown


@pytest.mark.parametrize("sign", "@:/?#&=%+!$*,;()[]~|\\^`{}'\"<> ")
def test_a_password_with_a_sign_in_it(sign: str):
    for password in (f"ge{sign}heim", f"{sign}geheim", f"geheim{sign}", f"ge{sign}{sign}heim{sign}"):
        shown = redact(f"camera lost: rtsp://admin:{password}@10.0.0.2/1: refused")
        assert shown == "camera lost: rtsp://***@10.0.0.2/1: refused"


def test_several_urls_in_a_line():
    line = "left rtsp://a:geheim@h1/x and right rtsp://b:geheim@h2/y, http://h3/z?token=geheim end"
    assert redact(line) == "left rtsp://***@h1/x and right rtsp://***@h2/y, http://h3/z?token=*** end"


def test_several_urls_without_white_space_between_them():
    shown = redact("rtsp://a:geheim@h1/x,rtsp://b:geheim@h2/y")
    assert "geheim" not in shown
    assert shown.endswith("@h2/y")


@pytest.mark.parametrize(
    "text",
    [
        "", "camera lost 12 s", "file.mp4", "user@host", "mail a@b.c, see http://host/x", "rtsp://10.0.0.2/1",
        "http://127.0.0.1:8642/", "a: b @ c", "http://host/x?size=1&fps=30", "synthetic:?size=320x240&fps=15",
    ],
)  # fmt: skip
def test_other_text_is_left_as_it_is(text: str):
    assert redact(text) == text


def test_twice_is_once():
    once = redact("rtsp://a:geheim@h/x?token=geheim")
    assert redact(once) == once


def test_things_that_are_not_text():
    assert redact(ValueError("rtsp://a:geheim@h/x")) == "rtsp://***@h/x"


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\"<>"), max_size=20),
    st.sampled_from(["", "/", "/stream", ":554/stream?channel=1"]),
)
def test_no_password_comes_through(noise: str, path: str):
    assert "geheim" not in redact(f"open rtsp://admin:geheim{noise}geheim@camera{path} failed")

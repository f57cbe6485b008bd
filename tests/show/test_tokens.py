"""The page seen from elsewhere: tokens, cookies, TLS; by raw clients and in a browser."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from typer.testing import CliRunner
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import connect
from websockets.uri import parse_uri

from rtx.cli import app
from rtx.config import Page as PageConfig
from rtx.errors import UserError
from rtx.show.page import PageSink, check_address
from rtx.show.page.address import Names, url
from rtx.show.page.tokens import Tokens, cookie_of, new_tokens, read_tokens
from rtx.show.view import Look
from tests.browser import MISSING, chromium, until
from tests.show.test_page import BUDGET_MS, NO_EVENTS, Feed, asks, port_of, view

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, Tokens]:
    """A token file and what stands in it."""
    new_tokens(tmp_path / "tokens")
    return str(tmp_path / "tokens"), read_tokens(str(tmp_path / "tokens"))


@pytest.fixture
def locked(tokens: tuple[str, Tokens]) -> Iterator[PageSink]:
    sink = PageSink(PageConfig(port=0, token=tokens[0]), ["hall"], Look(), BUDGET_MS, asks(), NO_EVENTS)
    sink.start()
    yield sink
    sink.close()


def get(sink: PageSink, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=30)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.msg, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/page.js", "/metrics", "/?token=wrong", "/?token=", "/page.js?token="])
def test_without_a_token_nothing_is_told(locked: PageSink, tokens: tuple[str, Tokens], path: str):
    status, headers, body = get(locked, path)
    assert status == 401
    assert b"rtx token show" in body
    assert headers["Set-Cookie"] is None
    assert headers["Content-Security-Policy"]
    for wrong in (f"rtx-0={tokens[1].steer}", "rtx-0=", "rtx-0", "rtx-1=" + cookie_of(tokens[1].steer)):
        assert get(locked, path.partition("?")[0], cookie=wrong)[0] == 401


def test_the_token_is_in_the_address_once_and_then_a_cookie(locked: PageSink, tokens: tuple[str, Tokens]):
    status, headers, body = get(locked, f"/?token={tokens[1].steer}")
    assert status == 200
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert tokens[1].steer not in cookie + body.decode(), "it is not kept as it is"
    assert b'url=/"' in body
    kept = cookie.partition(";")[0]
    assert get(locked, "/", cookie=kept)[0] == 200
    assert get(locked, "/page.js", cookie=f"other=1; {kept}")[0] == 200
    with connect(locked.address.replace("http", "ws") + "ws", additional_headers={"Cookie": kept}) as line:
        assert json.loads(line.recv(timeout=30))["may_steer"]


def test_behind_a_proxy_that_speaks_tls_the_cookie_is_for_tls_only(locked: PageSink, tokens: tuple[str, Tokens]):
    _, headers, _ = get(locked, f"/?token={tokens[1].steer}", X_Forwarded_Proto="https")
    assert "Secure" in headers["Set-Cookie"]


def test_a_link_on_another_site_is_asked_for_once_more_from_here(locked: PageSink):
    """A strict cookie is kept back when the way to the page began elsewhere."""
    status, _, body = get(locked, "/", Sec_Fetch_Site="cross-site")
    assert (status, b"http-equiv" in body) == (200, True)
    assert get(locked, "/page.js", Sec_Fetch_Site="cross-site")[0] == 401
    assert get(locked, "/", Sec_Fetch_Site="same-origin")[0] == 401


def test_a_cookie_of_another_application_does_no_harm(locked: PageSink, tokens: tuple[str, Tokens]):
    mine = f"rtx-0={cookie_of(tokens[1].watch)}"
    assert get(locked, "/page.js", cookie=f'prefs={{"a":1}}; {mine}; x=y z')[0] == 200


def test_who_has_no_token_is_not_told_what_is_not_ready(locked: PageSink, tokens: tuple[str, Tokens]):
    assert get(locked, "/readyz")[::2] == (503, b"not ready\n")
    told = get(locked, "/readyz", Authorization=f"Bearer {tokens[1].watch}")
    assert told[::2] == (503, b"nothing is heard of the supervisor\n")


def test_names_of_others_need_a_token(tokens: tuple[str, Tokens]):
    with pytest.raises(UserError, match=r"page\.names = .*needs a token"):
        check_address(PageConfig(port=0, names=("hall.example",)))
    check_address(PageConfig(port=0, names=("hall.example",), token=tokens[0]))


def test_who_may_watch_says_nothing_to_others(locked: PageSink, tokens: tuple[str, Tokens]):
    headers = {"Authorization": f"Bearer {tokens[1].watch}"}
    with connect(locked.address.replace("http", "ws") + "ws", additional_headers=headers) as line:
        line.send('{"type": "explain", "chain": [{"name": "cam", "x": 1}]}')
        line.recv(timeout=30), line.recv(timeout=30)  # Hello, and what is explained.
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=30)
    locked._asks.steering.step()
    assert locked._asks.steering.state.refused == ""


def test_a_machine_gives_its_token_as_bearer(locked: PageSink, tokens: tuple[str, Tokens]):
    assert get(locked, "/page.js", Authorization=f"Bearer {tokens[1].watch}")[0] == 200
    assert get(locked, "/page.js", Authorization="Bearer wrong")[0] == 401


def test_no_socket_without_a_token(locked: PageSink):
    with pytest.raises(InvalidStatus) as refused, connect(locked.address.replace("http", "ws") + "ws"):
        pass
    assert refused.value.response.status_code == 403


def test_who_may_watch_may_not_steer(locked: PageSink, tokens: tuple[str, Tokens]):
    headers = {"Authorization": f"Bearer {tokens[1].watch}"}
    with connect(locked.address.replace("http", "ws") + "ws", additional_headers=headers) as line:
        assert not json.loads(line.recv(timeout=30))["may_steer"]
        line.recv(timeout=30)  # What is explained.
        line.send(json.dumps({"type": "hold", "camera": "hall", "tree": [1, 2]}))
        assert b"for watching" in line.recv(timeout=30)
        line.send(json.dumps({"type": "explain", "chain": [{"name": "ksigma"}]}))
        with pytest.raises(ConnectionClosed) as closed:
            line.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.reason == "this token is only for watching"


def test_who_may_watch_has_nothing_explained(locked: PageSink, tokens: tuple[str, Tokens]):
    for token, status in ((tokens[1].watch, 403), (tokens[1].steer, 404), ("wrong", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", port_of(locked), timeout=30)
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("POST", "/events/1/explainers?by=cam", headers=headers)
        assert connection.getresponse().status == status
        connection.close()


@pytest.mark.parametrize(
    ("config", "host", "served"),
    [
        (PageConfig(), "localhost:8642", True),
        (PageConfig(), "192.168.1.5:8642", False),
        (PageConfig(host="0.0.0.0"), "192.168.1.5:8642", True),
        (PageConfig(host="0.0.0.0"), "[fe80::1]:8642", True),
        (PageConfig(host="0.0.0.0"), "evil.example", False),
        (PageConfig(host="0.0.0.0"), "192.168.1.5.evil.example", False),
        (PageConfig(names=("Hall.example",)), "hall.example", True),
        (PageConfig(names=("hall.example",)), "hall.example.evil", False),
        (PageConfig(names=("hall.example",)), "hall.example@evil", False),
    ],
)
def test_names_under_which_the_page_is_served(config: PageConfig, host: str, served: bool):
    """An address cannot be pointed elsewhere; a name can, and must be known."""
    assert Names(config).hold(host) == served


def test_token_files_are_private_and_never_replaced(tmp_path: Path):
    file = tmp_path / "tokens"
    said = CliRunner().invoke(app, ["token", "new", str(file)])
    assert said.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    held = read_tokens(str(file))
    assert held.steer not in said.output + repr(held)
    with pytest.raises(UserError, match="File exists"):
        new_tokens(file)
    shown = CliRunner().invoke(app, ["token", "show", str(file), "--address", "https://hall:8642/"]).output
    assert f"to steer: https://hall:8642/?token={held.steer}\n" in shown
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        check_address(PageConfig(port=0, token=str(file)))


@pytest.mark.parametrize("content", [b"", b"{}", b"secret", msgspec.json.encode(Tokens("short", "x" * 30)),
    msgspec.json.encode(Tokens("x" * 30, "x" * 30))])  # fmt: skip
def test_what_is_no_token_file_is_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "tokens"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(UserError, match=r"page\.token = .*rtx token new FILE"):
        check_address(PageConfig(port=0, token=str(file)))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    files = str(folder / "cert.pem"), str(folder / "key.pem")
    how = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run(["openssl", "req", *how.split(), *names], check=True, capture_output=True)
    return files


def test_tls_is_spoken_with_the_certificate_that_is_named(
    tokens: tuple[str, Tokens], certificate: tuple[str, str]
):  # fmt: skip
    config = PageConfig(port=0, token=tokens[0], certificate=certificate[0], key=certificate[1])
    sink = PageSink(config, ["hall"], Look(), BUDGET_MS, asks(), NO_EVENTS)
    sink.start()
    try:
        trusting = ssl.create_default_context(cafile=certificate[0])
        connection = http.client.HTTPSConnection("localhost", port_of(sink), timeout=30, context=trusting)
        connection.request("GET", f"/?token={tokens[1].watch}")
        answer = connection.getresponse()
        cookie = answer.msg["Set-Cookie"]
        assert answer.status == 200
        assert "Secure" in cookie
        headers = {"Cookie": cookie.partition(";")[0]}
        with connect(f"wss://localhost:{port_of(sink)}/ws", ssl=trusting, additional_headers=headers) as line:
            assert not json.loads(line.recv(timeout=30))["may_steer"]
        assert sink.address.startswith("https://")
    finally:
        sink.close()


def test_the_page_ends_while_a_viewer_is_leaving(tokens: tuple[str, Tokens], certificate: tuple[str, str]):
    """Over TLS a line that both sides have closed stays until the viewer hangs up; the others' are closed in order."""
    config = PageConfig(port=0, token=tokens[0], certificate=certificate[0], key=certificate[1])
    sink = PageSink(config, ["hall"], Look(), BUDGET_MS, asks(), NO_EVENTS)
    sink.start()
    trusting = ssl.create_default_context(cafile=certificate[0])
    where = f"wss://localhost:{port_of(sink)}/ws"
    headers = {"Cookie": f"rtx-0={cookie_of(tokens[1].watch)}"}
    hangs = trusting.wrap_socket(socket.create_connection(("localhost", port_of(sink)), 5), server_hostname="localhost")
    leaving = ClientProtocol(parse_uri(where))
    request = leaving.connect()
    request.headers.update(headers)
    leaving.send_request(request)
    try:
        with connect(where, ssl=trusting, additional_headers=headers) as staying:
            while leaving.close_rcvd is None:
                hangs.sendall(b"".join(leaving.data_to_send()))
                came = hangs.recv(65536)
                assert came, "the page hung up without a word"
                leaving.receive_data(came)
                if leaving.state is State.OPEN:
                    leaving.send_close(1000)
            sink.close()
            with pytest.raises(ConnectionClosed) as told:
                list(staying)
        assert told.value.rcvd is not None
        assert told.value.rcvd.code == 1012
    finally:
        hangs.close()
        sink.close()


@pytest.mark.parametrize("lacking", ["key", "certificate"])
def test_half_of_a_certificate_is_refused(certificate: tuple[str, str], lacking: str):
    files = {"certificate": certificate[0], "key": certificate[1]} | {lacking: None}
    with pytest.raises(UserError, match=rf"page\.{lacking} is not set"):
        check_address(PageConfig(port=0, **files))  # type: ignore[arg-type]


def test_files_that_are_no_certificate_are_refused(tmp_path: Path, certificate: tuple[str, str]):
    (tmp_path / "no.pem").write_text("hello")
    for file in ("no.pem", "missing.pem"):
        with pytest.raises(UserError, match=r"page\.certificate = .*PEM"):
            check_address(PageConfig(port=0, certificate=str(tmp_path / file), key=certificate[1]))


def test_the_address_is_told_with_its_scheme():
    assert url(PageConfig(host="::1", certificate="c", key="k")) == "https://[::1]:8642/"
    assert url(PageConfig(), 9) == "http://127.0.0.1:9/"


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_browser_keeps_the_token_out_of_its_address(locked: PageSink, tokens: tuple[str, Tokens]):
    with chromium() as running:
        page = _page(running)
        page.goto(f"{locked.address}?token={tokens[1].watch}", wait_until="commit")
        page.wait_for_url(locked.address, wait_until="commit")
        with Feed(locked, view()):
            until(lambda: page.evaluate("window.rtx?.tiles.hall?.seq"), "the wall")
        assert page.url == locked.address
        assert not page.is_visible("#explain"), "who may watch has no controls for others"
        assert page.evaluate("document.cookie") == "", "no script can read it"
        page.reload(wait_until="commit")
        with Feed(locked, view()):
            until(lambda: page.evaluate("window.rtx?.tiles.hall?.seq"), "the wall again")


def _page(browser: Browser):
    return browser.new_page()

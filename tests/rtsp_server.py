"""An RTSP camera for tests, run by the system's Python (gi, GStreamer): it draws the capture clock."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rtx.capture import clockcode  # noqa: E402

BLACK, GREY, WHITE = 16, 110, 235


def frame(width: int, height: int, t_ns: int, index: int) -> bytes:
    """An I420 picture: the clock's two rows over grey, and a block that wanders."""
    edges = clockcode.edges(width)
    rows = []
    for shown in (1, 0):
        cells = zip(clockcode.bits(t_ns), edges, edges[1:])  # noqa: B905
        row = b"".join(bytes([WHITE if bit == shown else BLACK]) * (right - left) for bit, left, right in cells)
        rows.append(row * clockcode.row_height(width))
    luma = bytearray(b"".join(rows).ljust(width * height, bytes([GREY])))
    left = 4 * index % (width - 40)
    for y in range(height // 2, height // 2 + 40):
        luma[y * width + left : y * width + left + 40] = bytes([WHITE]) * 40
    return bytes(luma) + bytes([128]) * (width * height // 2)


class Camera:
    """Feeds one encoder, shared by all viewers, for as long as somebody looks."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        self.width, self.height, self.fps = width, height, fps
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_shared(True)
        self.factory.set_launch(
            "( appsrc name=camera is-live=true do-timestamp=true format=time"
            f" caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
            f" ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={fps} bitrate=3000"
            " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        self.factory.connect("media-configure", self._configure)

    def _configure(self, _factory: object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name("camera")
        state = {"index": 0, "playing": True}
        media.connect("unprepared", lambda _media: state.update(playing=False))

        def push() -> bool:
            picture = frame(self.width, self.height, time.monotonic_ns(), state["index"])
            source.emit("push-buffer", Gst.Buffer.new_wrapped(picture))
            state["index"] += 1
            return state["playing"]

        GLib.timeout_add(round(1000 / self.fps), push)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="0", help="0 takes a free one; it is printed")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--auth", help="user:password")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    camera = Camera(width, height, arguments.fps)
    if arguments.auth:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth = GstRtspServer.RTSPAuth()
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*arguments.auth.split(":", 1)), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        for permission in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("viewer", permission, True)
        camera.factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/camera", camera.factory)
    if not server.attach(None):
        sys.exit(f"port {arguments.port} is not to be had")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()

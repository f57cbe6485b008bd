#!/bin/sh
# System packages that some tests need: installed where we may, named where we may not (those tests then skip).
set -u

packages="libgl1 libglib2.0-0 xvfb xdotool chromium iproute2 gstreamer1.0-rtsp gir1.2-gst-rtsp-server-1.0 python3-gi
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"

command -v dpkg >/dev/null || { echo "not a Debian-like system; tests that need these will skip:" $packages; exit 0; }
absent() {
    for package in $packages; do
        dpkg -s "$package" >/dev/null 2>&1 || printf ' %s' "$package"
    done
}
missing=$(absent)
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
    echo "installing:$missing"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null &&
        exit 0
    missing=$(absent)
    echo "apt-get failed; tests that need these will skip:$missing"
    exit 0
fi
echo "tests that need these will skip; install them with: sudo apt-get install$missing"

"""Pages that need nothing from anywhere: one style, one frame, and plots drawn as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

COLOURS = ("#5b8ff9", "#61ddaa", "#65789b", "#f6bd16", "#e8684a", "#d43f8d", "#78d3f8", "#9661bc", "#f6903d", "#008685")
WIDTH, HEIGHT = 720, 180
LEFT, RIGHT, BELOW = 60, 30, 20
"""Around what is plotted."""
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; }
.axis { stroke: #8888; } .budget { stroke: #e8684a; stroke-dasharray: 4; }
.none { color: #c60; white-space: normal; text-align: left; }
section { margin-top: 3rem; } dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
"""


def page(title: str, body: str, style: str = "") -> str:
    """A whole page; pictures in it are data."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>
{body}
</body></html>
"""


def facts(of: Mapping[str, object]) -> str:
    """Names and what is said of them."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(str(said))}</dd>' for name, said in of.items())}</dl>"


def svg(height: int, parts: Iterable[str], says: str) -> str:
    """A plot; `says` is for those who hear the page."""
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(says)}">{"".join(parts)}</svg>'


def axes(top: str, right: str) -> list[str]:
    """From nothing to `top`, and to the end, `right`."""
    return [
        f'<line class="axis" x1="{LEFT}" y1="0" x2="{LEFT}" y2="{HEIGHT - BELOW}"/>',
        f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BELOW}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BELOW}"/>',
        f'<text x="0" y="12">{escape(top)}</text><text x="0" y="{HEIGHT - BELOW}">0</text>',
        f'<text x="{WIDTH - 80}" y="{HEIGHT - 4}">{escape(right)}</text>',
    ]


def line(
    points: Iterable[tuple[float, float]], end: float, top: float, colour: str, dashed: bool = False
) -> str:  # fmt: skip
    """Values 0..top at 0..end."""
    drawn = " ".join(f"{x_of(at, end):.1f},{y_of(value, top):.1f}" for at, value in points)
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dashes} points="{drawn}"/>'


def x_of(value: float, end: float) -> float:
    """Where 0..end lies across."""
    return LEFT + value / end * (WIDTH - LEFT - RIGHT)


def y_of(value: float, top: float) -> float:
    """Where 0..top lies upwards."""
    return (HEIGHT - BELOW) * (1 - value / top)

"""A line chart as SVG: few lines of our own instead of a dependency."""

from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 380, 60, 40, 20, 46
COLOURS = ("#1f6feb", "#1a7f37", "#8250df", "#cf222e", "#9a6700")


def lines(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """``series`` by name, over ``across`` and ``up``, which name the axes and their units."""
    most_x = max(x for points in series.values() for x, _ in points) or 1.0
    most_y = max(y for points in series.values() for _, y in points) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + x / most_x * inner_width, HEIGHT - BOTTOM - y / most_y * inner_height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(WIDTH / 2, 20, title, "middle", size=14),
        _text(WIDTH / 2, HEIGHT - 8, across, "middle"),
        _text(8, TOP - 10, up, "start"),
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(share * most_x, share * most_y)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{share * most_y:.0f}", "end"))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{share * most_x:.0f}", "middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = TOP + 16 + 18 * number
        parts.append(f'<path d="M{LEFT + 10} {at - 4}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(LEFT + 36, at, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escaped}</text>'

"""Bars as SVG, without any library."""

from html import escape

COLOURS = ["#2a6f4e", "#c8743c", "#7a6a9b", "#8a8f98"]
BAR, GAP, GROUP_GAP, BARS, TOP = 16, 3, 14, 380, 54
LETTER = 6.6  # about as wide as one of the labels is


def bars(title, note, groups):
    """Horizontal bars. `groups` is [(label, [(who, value, text)])]; the same `who` has one colour everywhere, longer is more."""
    whos = list(dict.fromkeys(who for _, rows in groups for who, _, _ in rows))
    largest = max((value for _, rows in groups for _, value, _ in rows), default=0) or 1
    colour = {who: COLOURS[i % len(COLOURS)] for i, who in enumerate(whos)}
    height = TOP + 24 + sum(len(rows) * (BAR + GAP) + GROUP_GAP for _, rows in groups)
    labels = 24 + round(LETTER * max((len(label) for label, _ in groups), default=0))
    width = labels + BARS + 130
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12" role="img">',
           f"<title>{escape(title)}</title>", f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
           f'<text x="12" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    x = 12
    for who in whos:
        out.append(f'<rect x="{x}" y="31" width="11" height="11" fill="{colour[who]}"/>'
                   f'<text x="{x + 16}" y="41">{escape(who)}</text>')
        x += 30 + 7 * len(who)
    y = TOP
    for label, rows in groups:
        middle = y + len(rows) * (BAR + GAP) / 2 + 3
        out.append(f'<text x="{labels - 8}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>')
        for who, value, text in rows:
            length = max(1.0, BARS * value / largest)
            out.append(f'<rect x="{labels}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour[who]}"/>'
                       f'<text x="{labels + length + 6:.1f}" y="{y + 12}">{escape(text)}</text>')
            y += BAR + GAP
        y += GROUP_GAP
    out.append(f'<text x="12" y="{height - 10}" font-size="10" fill="#555555">{escape(note)}</text></svg>')
    return "\n".join(out) + "\n"

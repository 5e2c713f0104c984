"""A page as people see it: in Chromium without a screen, which `scripts/install-system-packages` installs.

Where the parts of a page come to lie, only the browser knows: a script that is put into a copy of the page writes it
into the copy's body, from where it comes back with the rest of the document. Our own pages have no scripts.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 1_000, 4_000
"""Of the window, pixels: higher than any of our pages is."""
_NO_SCRIPTS = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
_MEASURES = """
<script>
const box = (one) => { const at = one.getBoundingClientRect(); return [at.left, at.top, at.width, at.height] }
const all = (words) => [...document.querySelectorAll(words)].map(box)
document.body.dataset.boxes = JSON.stringify({svg: all("svg"), event: all("svg .event line"), body: all("body")})
</script>
"""
_WITHIN_S = 120.0


class Box(NamedTuple):
    """Where something lies, pixels from the upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Seen:
    """A page that was shown.

    Attributes:
        text: what can be read on it, the titles of what is in it among that.
        plots: where its pictures lie, in its order.
        events: where the lines lie that mark events in them, likewise.
        body: where all of it lies.
        pixels: the window; shape (height, width, 3), RGB.
    """

    text: str
    plots: Sequence[Box]
    events: Sequence[Box]
    body: Box
    pixels: NDArray[np.uint8]

    def within(self, box: Box) -> NDArray[np.uint8]:
        """The pixels of a box; shape (its height, its width, 3)."""
        top, left = round(box.top), round(box.left)
        return self.pixels[top : top + max(1, round(box.height)), left : left + max(1, round(box.width))]


def seen(page: Path, picture: Path) -> Seen:
    """What the browser makes of a page of ours.

    Args:
        page: a file that needs no other.
        picture: where the picture of it comes to lie, a PNG.
    """
    text = page.read_text(encoding="utf-8")
    copy = picture.with_suffix(".shown.html")
    copy.write_text(_NO_SCRIPTS.sub("", text).replace("</body>", f"{_MEASURES}</body>"), encoding="utf-8")
    _chromium(picture, f"--screenshot={picture}", copy.as_uri())
    shown = _Shown()
    shown.feed(_chromium(picture, "--dump-dom", copy.as_uri()))
    boxes = {name: [Box(*one) for one in some] for name, some in json.loads(shown.boxes).items()}
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    return Seen(" ".join(shown.words), boxes["svg"], boxes["event"], boxes["body"][0], pixels)


def _chromium(picture: Path, *asked: str) -> str:
    command = shutil.which("chromium")
    assert command is not None, "there is no chromium: run scripts/install-system-packages"
    argv = (
        command, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--force-device-scale-factor=1", f"--window-size={WIDTH},{HEIGHT}", "--virtual-time-budget=2000",
        f"--user-data-dir={picture.with_suffix('.profile')}", *asked,
    )  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class _Shown(HTMLParser):
    """The words of a document, and what the script has written into its body."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.boxes = ""
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of the body, its data; what is in styles and scripts nobody reads."""
        self._silent += tag in {"style", "script"}
        if tag == "body":
            self.boxes = dict(attrs).get("data-boxes") or "{}"

    def handle_endtag(self, tag: str) -> None:
        """Likewise."""
        self._silent -= tag in {"style", "script"}

    def handle_data(self, data: str) -> None:
        """Words."""
        if not self._silent:
            self.words += data.split()


def coloured(pixels: NDArray[np.uint8], colour: str, within: int = 40) -> int:
    """How many of the pixels have that colour, or nearly: lines are drawn with soft edges.

    Args:
        pixels: shape (height, width, 3), RGB.
        colour: `#rrggbb`.
        within: of each of red, green and blue, out of 255.
    """
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - wanted) <= within).all(axis=2).sum())


def dark(pixels: NDArray[np.uint8]) -> int:
    """How many of them are no longer nearly white."""
    return int((pixels.min(axis=2) < 230).sum())


def of_each(events: Sequence[Box], plots: Sequence[Box]) -> Iterator[Sequence[Box]]:
    """The events in each of the plots."""
    for plot in plots:
        yield [one for one in events if plot.top <= one.top < plot.top + plot.height]

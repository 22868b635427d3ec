"""Draws the README's picture from a demo.

foreseen demo --out demo
python docs/make_pictures.py demo
"""

import sys
from pathlib import Path

import av

PICTURE = Path(__file__).parent / "pictures" / "forecast.png"
SHARE = 0.72
"""Where in the clip the picture is taken: well after the observed part has ended."""


def main(demo: Path) -> None:
    with av.open(str(demo / "forecast.mp4")) as clip:
        frames = [frame.to_image() for frame in clip.decode(video=0)]
    chosen = frames[round(SHARE * (len(frames) - 1))]
    PICTURE.parent.mkdir(exist_ok=True)
    chosen.save(PICTURE, optimize=True)
    print(f"wrote {PICTURE}: {PICTURE.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))

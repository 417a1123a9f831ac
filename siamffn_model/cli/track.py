"""`siamffn track`."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import click

from siamffn_model.cli.options import init_option, model_options, settings_option
from siamffn_model.imaging.geometry import Box


@click.command()
@click.argument('source', metavar='VIDEO|DIR', type=click.Path(path_type=Path))
@init_option('DIR contains a groundtruth.txt')
@model_options
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=Path('out/track'),
    show_default=True,
    help='Folder for boxes.csv and overlay.mp4.',
)
@settings_option
@click.option(
    '--show', is_flag=True, help='Show the result in a window while tracking; press q to stop.'
)
def track(
    source: Path,
    box: Box | None,
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
    out: Path,
    overrides: dict[str, Any],
    show: bool,
) -> None:
    """Track one target through a video or a folder of images.

    Frames that cannot be read are left out and counted, unless it is the first image of a folder.
    Videos are rotated as players show them; the EXIF orientation of images is ignored. 16 bit are
    mapped to 8, as in docs/ros.md.
    """
    from siamffn_model.imaging.sources import open_frames
    from siamffn_model.tracking import Tracker, TrackerSettings, load_model
    from siamffn_model.tracking.track_video import first_box, track_video

    frames = open_frames(source)
    box = first_box(frames, box)
    network = load_model(model, weights, device, runtime)
    click.echo(f'{model}: {network.name} on {network.device}')
    tracker = Tracker(network, TrackerSettings(**overrides))
    tracks = track_video(tracker, frames, box, out, show)
    states = Counter(item.state.name for item in tracks.values())
    click.echo(
        f'{len(tracks)} frames, '
        f'mean score {statistics.fmean(item.score for item in tracks.values()):.2f}, '
        + ', '.join(f'{name} {count}' for name, count in states.items())
    )
    if damage := frames.damage(len(tracks)):
        click.echo(f'warning: {damage}', err=True)
    click.echo(f'see {out / "boxes.csv"} and {out / "overlay.mp4"}')

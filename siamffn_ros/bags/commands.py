"""The commands of `siamffn bag`."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import IO

import click

from siamffn_model.atomic_io import write_text
from siamffn_model.cli.options import init_option, model_options
from siamffn_model.errors import DataError
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import open_frames
from siamffn_model.networks.names import MODEL_NAMES
from siamffn_ros.bags.evaluation import evaluate
from siamffn_ros.bags.io import IMAGE_TOPIC, TRUTH_TOPIC, create_from
from siamffn_ros.bags.player import play


@click.group(name='bag')
def command() -> None:
    """Create, play, track and evaluate ROS 2 bags."""


@command.command()
@click.argument('source', type=click.Path(path_type=Path))
@click.option('-o', '--output', required=True, type=click.Path(path_type=Path), help='X.mcap')
def create(source: Path, output: Path) -> None:
    """Create a bag from SOURCE: a video, a folder of images or a sequence folder."""
    frames = open_frames(source)
    count = create_from(frames, output)
    click.echo(f'{output}: {count} images on {IMAGE_TOPIC}')
    if damage := frames.damage(count):
        click.echo(f'warning: {damage}', err=True)


@command.command('play')
@click.argument('bag', type=click.Path(path_type=Path))
@click.option(
    '--rate',
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 100),
    help='Playback speed relative to the recording.',
)
@click.option('--clock', is_flag=True, help='Also publish /clock, for use_sim_time.')
@click.option('--loop', is_flag=True, help='Repeat until Ctrl-C.')
@click.option(
    '--wait',
    default=2.0,
    show_default=True,
    type=click.FloatRange(0),
    help='Maximum time in seconds to wait for a subscriber before playing; 0: do not wait.',
)
@click.option('--topic', help='Play only this topic. [default: all]')
@click.option(
    '--remap',
    metavar='FROM:=TO',
    multiple=True,
    help='Publish on another topic; __node:=NAME names the node. May be repeated.',
)
@click.option(
    '--log',
    type=click.File('w'),
    help='Write a CSV row for each message: topic, record time, time of publishing.',
)
def play_command(
    bag: Path,
    rate: float,
    clock: bool,
    loop: bool,
    wait: float,
    topic: str | None,
    remap: tuple[str, ...],
    log: IO[str] | None,
) -> None:
    """Publish the messages of BAG at their recorded rate."""
    writer = csv.writer(log) if log else None

    def log_message(name: str, stamp: int) -> None:
        if writer:
            writer.writerow([name, stamp, time.time_ns()])

    count = play(bag, rate, clock, loop, wait, log_message, topic, remap)
    click.echo(f'{count} messages published')


@command.command('evaluate')
@click.argument('detections', type=click.Path(path_type=Path))
@click.option(
    '--truth', required=True, type=click.Path(path_type=Path), help='Bag with the ground truth.'
)
@click.option('--topic', help='Topic of the detections. [default: the only one]')
@click.option('--truth-topic', help='Topic of the ground truth. [default: the only one]')
@click.option('--target', metavar='ID', help='Target to evaluate. [default: the only one]')
@click.option(
    '--json',
    'summary_file',
    type=click.Path(path_type=Path),
    help='Also write the scores to this file.',
)
def evaluate_command(
    detections: Path,
    truth: Path,
    topic: str | None,
    truth_topic: str | None,
    target: str | None,
    summary_file: Path | None,
) -> None:
    """Evaluate the bag DETECTIONS, from the node or any other tracker, against ground truth.

    Both contain Detection2DArray messages, which are matched by header stamp. Evaluation starts
    with the first detection; from there on, a frame without message or detection is a failure.
    """
    result = evaluate(detections, truth, topic, truth_topic, target)
    click.echo(result.table())
    if summary_file:
        write_text(summary_file, json.dumps(result.summary(), indent=2) + '\n')


@command.command('track')
@click.argument('source', metavar='BAG', type=click.Path(path_type=Path))
@init_option(f'BAG has it on {TRUTH_TOPIC}')
@click.option('--topic', help='Topic of the images. [default: the only one]')
@model_options
@click.option('-o', '--output', required=True, type=click.Path(path_type=Path), help='X.mcap')
def track_command(
    source: Path,
    box: Box | None,
    topic: str | None,
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
    output: Path,
) -> None:
    """Track one target through every image of BAG without a node, and record the detections.

    The new bag has the topics of the node, with the record times of the images.
    """
    from siamffn_model.tracking import load_model  # imports PyTorch, which --help does not need
    from siamffn_ros.bags.tracking import track_bag

    result = track_bag(load_model(model, weights, device, runtime), source, output, box, topic)
    click.echo(f'{output}: {result.images} images, target lost in {result.lost}')
    if result.bad:
        click.echo(f'{result.bad} skipped, the first: {result.first_bad}', err=True)


@command.command('replay')
@click.argument('source', metavar='BAG', type=click.Path(path_type=Path))
@init_option(f'BAG has it on {TRUTH_TOPIC}')
@click.option(
    '--init-file',
    metavar='FILE',
    type=click.Path(path_type=Path),
    help='Text file with x,y,w,h in its first row, instead of --init.',
)
@click.option('--topic', help='Topic of the images. [default: the only one]')
@click.option(
    '--rate',
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 100),
    help='Playback speed relative to the recording.',
)
@click.option(
    '--min-success',
    metavar='S',
    type=click.FloatRange(0, 1),
    help=f'Exit with status 1 if success against {TRUTH_TOPIC} is lower.',
)
@click.option(
    '--params-file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Parameter file of the node.',
)
@click.option(
    '--model',
    help='Parameter `model` of the node, instead of that in the file: '
    f'{", ".join(MODEL_NAMES)} or nanotrack.',
)
@click.option('--device', help='Parameter `device` of the node.')
@click.option('--weights', type=click.Path(path_type=Path), help='Parameter `weights` of the node.')
@click.option('--runtime', help='Parameter `runtime` of the node.')
@click.option(
    '-o',
    '--output',
    metavar='DIR',
    required=True,
    type=click.Path(path_type=Path),
    help='Output folder.',
)
def replay_command(
    source: Path,
    box: Box | None,
    init_file: Path | None,
    topic: str | None,
    rate: float,
    min_success: float | None,
    params_file: Path | None,
    model: str | None,
    device: str | None,
    weights: Path | None,
    runtime: str | None,
    output: Path,
) -> None:
    """Play BAG over DDS into a tracker node, record its detections of one target, evaluate them.

    Writes detections.mcap, node.log and summary.json to DIR, replacing earlier ones. The detections
    are evaluated if BAG has ground truth.
    """
    from siamffn_ros.bags.processes import node_arguments
    from siamffn_ros.bags.replay import has_truth, read_box, replay, summary_table

    if box and init_file:
        raise click.UsageError('give --init or --init-file, not both')
    if min_success is not None and not has_truth(source):
        raise DataError(
            f'{source} has no {TRUTH_TOPIC} to evaluate against: omit --min-success (min_success:=)'
        )
    box = read_box(init_file) if init_file else box
    arguments = node_arguments(
        params_file, model=model, device=device, weights=weights, runtime=runtime
    )
    summary, evaluation = replay(source, box, output, arguments, topic, rate)
    click.echo(summary_table(summary))
    if evaluation:
        click.echo(evaluation.table())
    click.echo(f'results are in {output}')
    if min_success is not None and evaluation and evaluation.success < min_success:
        click.echo(f'success {evaluation.success:.3f} is below {min_success:g}', err=True)
        raise click.exceptions.Exit(1)

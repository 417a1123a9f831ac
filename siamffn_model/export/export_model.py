"""Models written in the format of a runtime, and how near they come to the network as trained."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tqdm import tqdm

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DataError, SiamFFNError, WeightsError
from siamffn_model.evaluation.runner import track_all
from siamffn_model.imaging.crop import Image, View, context_side, mean_colour, search_side
from siamffn_model.imaging.geometry import Box
from siamffn_model.imaging.sources import ImageFiles, read_image
from siamffn_model.runtimes.conversion import convert, format_module, read_model
from siamffn_model.runtimes.exported import Manifest, writing
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import COMPUTED_BY, choose, load_model, weight_file
from siamffn_model.tracking import Tracker

CALIBRATED_ON = 300  # frames
COMPARED_ON = 100  # frames
SHIFT = 0.1  # of the search's side, each way: how far off its middle a target is when searched
RESIZE = 0.1  # logarithm of how far off its size may be

Pair = tuple[View, View]  # what a template is made of, and a search for it


def export_model(
    name: str, weights: Path | None, form: str, out: Path, calibration: list[Sequence]
) -> Runtime:
    """Write a model to the folder `out`; return what computes what was written.

    Args:
        name: one of `networks.zoo.MODELS`.
        weights: a safetensors file; None takes the one that ships.
        form: one of `exported.FORMATS`.
        out: must not be there yet.
        calibration: targets on whose crops to find the ranges of int8; none for single precision.

    Raises:
        DataError: `out` is there or cannot be written; no frame to calibrate on.
        WeightsError: a missing, damaged or foreign weight file.
        SiamFFNError: an unknown model, int8 in a format that has none, or a missing package.
    """
    path = weight_file(name, weights)
    if out.exists():
        raise DataError(f'{out} is there already: choose a folder that is not there yet')
    if path.is_dir():
        raise WeightsError(f'{path} is a folder: give the .safetensors file that is to be exported')
    choose('cpu', COMPUTED_BY[form][0])
    if calibration:
        _check_int8(form)
    graphs = convert(read_model(name, path), form)
    if calibration:
        os.environ['NNCF_CI'] = 'yes'  # else nncf tells its makers of each run over the network
        from siamffn_model.export.quantisation import quantise

        graphs = quantise(graphs, list(pairs(calibration, CALIBRATED_ON)))
    manifest = Manifest(name, form, graphs.score_map, 'int8' if calibration else 'f32')
    with writing(out, manifest) as partial:
        format_module(form).save_graphs(graphs, partial)
    if form != 'torchscript':
        return load_model(name, out, 'cpu')
    from siamffn_model.runtimes.torch_runtime import scripted

    return scripted(graphs)


def _check_int8(form: str) -> None:
    if form != 'openvino':
        raise SiamFFNError(
            f'int8 is for the format openvino only, not for {form}: leave out --int8'
        )
    if not find_spec('nncf'):
        raise SiamFFNError(
            'nncf is not installed: int8 needs the extra [export], which '
            "`pip install -e '.[export]'` brings in the folder of the sources"
        )


def pairs(sequences: list[Sequence], count: int) -> Iterator[Pair]:
    """Yield views of `count` frames (or all there are) spread evenly over the sequences.

    Each is searched round the true box, as far off as in tracking, for what the first frame of its
    sequence shows. Frames without the target are passed over. The same arguments give the same
    views. Raises `DataError` where there is no frame.
    """
    rng = np.random.default_rng(0)
    frames = [
        (sequence, number)
        for sequence in sequences
        for number in range(1, len(sequence.truth))
        if np.isfinite(sequence.truth[number]).all()
    ]
    if not frames:
        raise DataError('the sequences have no frame after the first that shows the target')
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    for sequence, number in (frames[index] for index in chosen):
        assert isinstance(sequence.frames, ImageFiles)
        first, image = (read_image(sequence.frames.files[n]) for n in (0, number))
        x, y, w, h = sequence.truth[number].tolist()
        box = Box(x - sequence.origin, y - sequence.origin, w, h)
        yield _pair(first, sequence.first, image, box, rng)


def _rendered(count: int) -> Iterator[Pair]:
    rng = np.random.default_rng(0)
    images, boxes = render_scene(count + 1)
    for image, box in zip(images[1:], boxes[1:], strict=True):
        yield _pair(images[0], boxes[0], image, box, rng)


def _pair(first: Image, learned: Box, image: Image, box: Box, rng: np.random.Generator) -> Pair:
    fill = mean_colour(first)
    template = View(first, learned.cx, learned.cy, context_side(learned.w, learned.h), fill)
    side = search_side(box.w, box.h) * math.exp(rng.uniform(-RESIZE, RESIZE))
    x, y = rng.uniform(-SHIFT * side, SHIFT * side, 2).tolist()
    return template, View(image, box.cx + x, box.cy + y, side, fill)


def difference(trained: Runtime, exported: Runtime, sequences: list[Sequence]) -> str:
    """Return in words the largest difference of two runtimes on crops of the sequences.

    Without any sequence they are those of a rendered scene. Boxes are compared where `trained` has
    its highest score.
    """
    source = pairs(sequences, COMPARED_ON) if sequences else _rendered(COMPARED_ON)
    scores, boxes = [], []
    for template, search in tqdm(source, unit='crop', leave=False, disable=None):
        expected, found = (
            runtime.search([search], [runtime.template(template)])[0]
            for runtime in (trained, exported)
        )
        best = expected[0].argmax()
        scores.append(np.abs(found[0] - expected[0]).max())
        boxes.append(np.abs(found[1:, best] - expected[1:, best]).max())
    return (
        f'{exported.name} against {trained.name}, {len(scores)} crops: largest difference of '
        f'scores {max(scores):.4f}, of boxes {max(boxes):.3f} pixels of the search crop (median '
        f'{np.median(boxes):.3f})'
    )


def change_in_success(trained: Runtime, exported: Runtime, sequences: list[Sequence]) -> str:
    """Return in words what tracking loses or gains by the export."""
    before, after = (
        track_all(Tracker(runtime), sequences).score for runtime in (trained, exported)
    )
    return (
        f'success over {len(sequences)} sequences: {before:.4f} as trained, {after:.4f} exported '
        f'({after - before:+.4f})'
    )

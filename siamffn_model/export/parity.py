"""Comparison of an exported model with the trained network."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.evaluation.runner import track_all
from siamffn_model.export.crop_pairs import rendered_pairs, sequence_pairs
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import Tracker

COMPARED_FRAMES = 100


def difference(trained: Runtime, exported: Runtime, sequences: list[Sequence]) -> str:
    """Describe the largest difference between the outputs of two runtimes on the same crops.

    Boxes are compared at the candidate with the highest score of `trained`.

    Args:
        trained: the reference.
        exported: the runtime to compare with it.
        sequences: the source of the crops; if empty, they are from a rendered scene.
    """
    pairs = (
        sequence_pairs(sequences, COMPARED_FRAMES) if sequences else rendered_pairs(COMPARED_FRAMES)
    )
    scores, boxes = [], []
    for template, search in tqdm(pairs, unit='crop', leave=False, disable=None):
        expected, actual = (
            runtime.search([search], [runtime.template(template)])[0]
            for runtime in (trained, exported)
        )
        best = expected[0].argmax()
        scores.append(np.abs(actual[0] - expected[0]).max())
        boxes.append(np.abs(actual[1:, best] - expected[1:, best]).max())
    return (
        f'{exported.name} against {trained.name}, {len(scores)} crops: largest difference of '
        f'scores {max(scores):.4f}, of boxes {max(boxes):.3f} pixels of the search crop (median '
        f'{np.median(boxes):.3f})'
    )


def change_in_success(trained: Runtime, exported: Runtime, sequences: list[Sequence]) -> str:
    """Describe the change in the success score on sequences that the export causes."""
    before, after = (
        track_all(Tracker(runtime), sequences).score for runtime in (trained, exported)
    )
    return (
        f'success over {len(sequences)} sequences: {before:.4f} as trained, {after:.4f} exported '
        f'({after - before:+.4f})'
    )

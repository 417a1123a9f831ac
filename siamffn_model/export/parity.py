"""How near an exported model comes to the network as trained."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.evaluation.runner import track_all
from siamffn_model.export.crop_pairs import rendered_pairs, sequence_pairs
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.tracking import Tracker

COMPARED_ON = 100  # frames


def difference(trained: Runtime, exported: Runtime, sequences: list[Sequence]) -> str:
    """Return in words the largest difference of two runtimes on crops of the sequences.

    Without any sequence they are those of a rendered scene. Boxes are compared where `trained` has
    its highest score.
    """
    source = sequence_pairs(sequences, COMPARED_ON) if sequences else rendered_pairs(COMPARED_ON)
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

"""Validation: its sequences, and that it does not change the model in training."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from siamffn_model.datasets.pack import Pack
from siamffn_model.datasets.sequences import Sequence
from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.errors import DataError
from siamffn_model.networks.siamese import SiamFFN
from siamffn_model.networks.zoo import create_model, load_weights
from siamffn_model.runtimes.selection import weight_file
from siamffn_model.training.pair_sources import PackSource, SceneSource
from siamffn_model.training.validation import (
    CLIPS,
    LENGTH,
    open_validation,
    synthetic_sequence,
    validate,
    validate_pairs,
)


@pytest.fixture
def pack(tiny_pack: Path) -> PackSource:
    """A small training pack."""
    return PackSource(Pack.read(tiny_pack), 10)


def equal(one: Sequence, other: Sequence) -> bool:
    assert one.frames is not None and other.frames is not None
    images = zip(one.frames, other.frames, strict=True)
    return np.array_equal(one.truth, other.truth) and all(np.array_equal(a, b) for a, b in images)


def test_sequences_are_read_from_a_folder(sequence_folder: Path, pack: PackSource) -> None:
    sequences = open_validation(sequence_folder, [pack])
    names = ['clip1', 'clip1@8', 'clip1@11', 'clip2', 'clip2@8', 'clip2@10']
    assert [sequence.name for sequence in sequences] == names
    assert np.flatnonzero(np.isnan(sequences[3].truth[:, 0])).tolist() == [10, 11, 12, 13]
    with pytest.raises(DataError, match='nowhere: no such folder'):
        open_validation(Path('nowhere'), [pack])


def test_without_a_folder_clips_are_generated_from_the_pack(pack: PackSource) -> None:
    sequences = open_validation(None, [SceneSource(1), pack])
    assert len(sequences) == CLIPS
    for seed, sequence in enumerate(sequences):
        _, clip = pack.draw_clip(np.random.default_rng(seed), LENGTH)
        images, boxes = zip(*map(clip.frame, range(LENGTH)))
        assert equal(sequence, synthetic_sequence('', Scene(list(images), list(boxes))))
    again = open_validation(None, [pack])
    assert all(map(equal, sequences, again))
    assert not equal(sequences[0], sequences[1])


def test_without_folder_and_pack_scenes_are_rendered() -> None:
    sequences = open_validation(None, [SceneSource(1)])
    assert len(sequences) == CLIPS
    for seed, sequence in enumerate(sequences):
        assert sequence.frames is not None
        frames = sequence.frames
        assert (frames.size, frames.count, frames.expected) == ((320, 240), LENGTH, LENGTH)
        for _ in range(2):  # a sequence is read again in every epoch
            assert equal(sequence, synthetic_sequence('', render_scene(LENGTH, seed=seed)))


@pytest.mark.slow
def test_validation_scores_a_model_and_does_not_change_it() -> None:
    name = 'siamffn_lite0'
    model = create_model(name)
    load_weights(model, name, weight_file(name))
    model.train()
    model.backbone.eval().requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [(type(module), module.training) for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    scene = synthetic_sequence('scene', render_scene(8, seed=3))
    result = validate(model, [scene], torch.device('cpu'))
    assert 0.7 < result.success <= 1
    assert result.precision == 1
    assert [(type(module), module.training) for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
def test_pairs_show_how_well_a_model_finds_targets_and_their_size() -> None:
    name = 'siamffn_lite0'
    model = create_model(name)
    load_weights(model, name, weight_file(name))
    model.train()
    scenes = [synthetic_sequence(str(seed), render_scene(8, seed=seed)) for seed in (3, 4)]
    scores = validate_pairs(model, scenes, torch.device('cpu'))
    assert scores == validate_pairs(model, scenes, torch.device('cpu'))
    assert model.training
    assert scores.found == 1
    assert 0.6 < scores.iou <= 1
    assert isinstance(model, SiamFFN)
    model.rescale_scores(-1, 0)  # the best candidates become the worst
    assert validate_pairs(model, scenes, torch.device('cpu')).found < 0.5


def resident_memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.slow
def test_validations_do_not_accumulate_memory() -> None:
    model = create_model('siamffn_lite0')
    scene = synthetic_sequence('scene', render_scene(2, seed=3))
    before = 0
    for number in range(6):
        validate(model, [scene], torch.device('cpu'))
        gc.collect()
        before = before if number > 1 else resident_memory()  # the first ones fill caches
    growth = (resident_memory() - before) / 4
    assert growth < 6e6, 'a model that PyTorch has traced keeps 15 MB'

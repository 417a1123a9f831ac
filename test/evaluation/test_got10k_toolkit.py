"""Tests of the adapter for the GOT-10k toolkit, with its experiments on rendered sequences."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamffn_model.datasets.synthetic import render_scene
from siamffn_model.errors import DependencyError
from siamffn_model.evaluation.got10k_toolkit import toolkit_tracker
from siamffn_model.imaging.geometry import Box, iou
from siamffn_model.imaging.image import read_image
from siamffn_model.tracking import TrackerProtocol

SEQUENCES = ('GOT-10k_Val_000001', 'GOT-10k_Val_000002')


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv('MPLBACKEND', 'agg')
    return pytest.importorskip('got10k.experiments', reason='the toolkit got10k is not installed')


@pytest.fixture
def validation_set(tmp_path: Path) -> Path:
    """Two sequences of 12 frames in the layout of GOT-10k; the target is hidden in one frame."""
    folder = tmp_path / 'GOT-10k' / 'val'
    for seed, name in enumerate(SEQUENCES):
        images, boxes = render_scene(12, seed=seed)
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images, 1):
            assert cv2.imwrite(str(folder / name / f'{number:08d}.jpg'), image)
        np.savetxt(folder / name / 'groundtruth.txt', boxes, fmt='%.4f', delimiter=',')
        meta = '[METAINFO]\nurl: none\nresolution: (320, 240)\n'
        (folder / name / 'meta_info.ini').write_text(meta)
        cover = [8] * 11 + [0]
        for label, values in (('cover', cover), ('absence', [0] * 12), ('cut_by_image', [0] * 12)):
            np.savetxt(folder / name / f'{label}.label', values, fmt='%d')
    (folder / 'list.txt').write_text('\n'.join(SEQUENCES) + '\n')
    return folder


def read_boxes(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=',')


def run_directly(tracker: TrackerProtocol, folder: Path) -> np.ndarray:
    images = [read_image(file) for file in sorted(folder.glob('*.jpg'))]
    first = read_boxes(folder / 'groundtruth.txt')[0]
    tracker.init(images[0], Box(*first))
    return np.array([first, *(tracker.update(image).box for image in images[1:])])


def test_experiment_of_the_toolkit_agrees_with_a_direct_run(
    experiments: object, validation_set: Path, tmp_path: Path, template_matcher: TrackerProtocol
) -> None:
    folders = {'result_dir': str(tmp_path / 'results'), 'report_dir': str(tmp_path / 'reports')}
    experiment = experiments.ExperimentGOT10k(validation_set.parent, subset='val', **folders)
    experiment.run(toolkit_tracker(template_matcher, 'matcher'))
    report = experiment.report(['matcher'])

    overlaps = []
    for name in SEQUENCES:
        expected = run_directly(template_matcher, validation_set / name)
        files = sorted((tmp_path / 'results/GOT-10k/matcher' / name).glob(f'{name}_0*.txt'))
        assert [file.name for file in files] == [f'{name}_001.txt']  # deterministic: run once
        assert read_boxes(files[0]) == pytest.approx(expected, abs=0.00051)  # three decimals
        truth = read_boxes(validation_set / name / 'groundtruth.txt')
        overlaps.append(iou(expected, truth)[1:11])  # without the first and the hidden frame
    assert report['matcher']['overall']['ao'] == pytest.approx(np.mean(overlaps), abs=0.0005)
    assert np.mean(overlaps) > 0.5


def test_tracker_gets_bgr_images_and_boxes_in_pixels(
    experiments: object, validation_set: Path
) -> None:
    class Recorder:
        def init(self, image: np.ndarray, box: Box) -> None:
            self.images, self.box = [image], box

        def update(self, image: np.ndarray) -> object:
            self.images.append(image)
            return type('Track', (), {'box': self.box})

    recorder, folder = Recorder(), validation_set / SEQUENCES[0]
    files = sorted(folder.glob('*.jpg'))
    boxes, _ = toolkit_tracker(recorder, 'recorder').track(
        [str(file) for file in files], (1, 2, 3, 4)
    )
    assert (boxes == (1, 2, 3, 4)).all()
    assert type(recorder.box) is Box
    for image, file in zip(recorder.images, files, strict=True):
        assert image.flags.c_contiguous and image.dtype == np.uint8
        # Pillow and OpenCV may decode a JPEG differently by some levels
        assert np.abs(image.astype(int) - read_image(file)).max() <= 8


def test_missing_toolkit_raises(
    monkeypatch: pytest.MonkeyPatch, template_matcher: TrackerProtocol
) -> None:
    monkeypatch.setitem(sys.modules, 'got10k.trackers', None)
    with pytest.raises(
        DependencyError, match=r'toolkit cannot be imported .*pip install got10k six'
    ):
        toolkit_tracker(template_matcher, 'any')

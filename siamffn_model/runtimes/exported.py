"""Exported models: folders with the inference modules of a model and a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from siamffn_model import __version__
from siamffn_model.atomic_io import atomic_write_folder
from siamffn_model.errors import WeightsError
from siamffn_model.networks.score_map import ScoreMap

MANIFEST = 'model.json'
FORMATS = ('onnx', 'openvino', 'torchscript')


@dataclass(frozen=True)
class Manifest:
    """Description of an exported model, stored in its folder as JSON.

    Attributes:
        model: name in the zoo.
        format: one of `FORMATS`.
        score_map: layout of the model's candidates.
        precision: precision of the weights: 'f32' or 'int8'.
        version: version of this package that wrote the folder.
        weights: SHA-256 of the weight file that was converted.
        checksums: SHA-256 of the files in the folder by name; those that are not named are not
            checked.
    """

    model: str
    format: str
    score_map: ScoreMap
    precision: str = 'f32'
    version: str = __version__
    weights: str = ''
    checksums: dict[str, str] = field(default_factory=dict)


class ExportedModules(NamedTuple):
    """The two inference modules of a model in an export format, for a batch size of 1.

    See `networks.inference_modules`. The type of `template` and `search` depends on the format.
    """

    template: Any
    search: Any
    score_map: ScoreMap

    def check_candidates(self, count: int) -> None:
        """Raise `WeightsError` unless the search module has as many candidates as described."""
        if count != self.score_map.candidates:
            raise WeightsError(
                f'the search module has {count} candidates, but {MANIFEST} describes '
                f'{self.score_map.candidates}: export the model again'
            )


@contextmanager
def write_exported(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """Yield a temporary folder for the modules; on success add the manifest and rename it.

    Raises `DataError` if `folder` exists or cannot be written.
    """
    with atomic_write_folder(folder) as partial:
        yield partial
        checksums = {path.name: fingerprint(path) for path in sorted(partial.iterdir())}
        content = json.dumps(asdict(replace(manifest, checksums=checksums)), indent=2)
        (partial / MANIFEST).write_text(content, encoding='utf-8')


def fingerprint(*paths: Path) -> str:
    """Return the SHA-256 of the content of files and of all files in folders, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an exported model, and check its files.

    Raises `WeightsError` if one of them is missing or damaged.
    """
    try:
        values = dict(json.loads((folder / MANIFEST).read_text(encoding='utf-8')))
        values['checksums'] = dict(values.get('checksums', {}))
        layout = values.pop('score_map')
        anchors = tuple((w, h) for w, h in layout['anchors'])
        stride = int(layout.get('stride', 8))  # folders of earlier versions do not name it
        score_map = ScoreMap(int(layout['side']), anchors, bool(layout['sized']), stride)
        manifest = Manifest(score_map=score_map, **values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f'{folder} is not an exported model: its {MANIFEST} cannot be read ({error!r}); '
            'give a folder that `siamffn export` wrote'
        ) from None
    if manifest.format not in FORMATS:
        raise WeightsError(
            f'{folder} has the format {manifest.format!r}, which this version does not support: '
            'export the model again'
        )
    for name, checksum in manifest.checksums.items():
        if not (folder / name).is_file() or fingerprint(folder / name) != checksum:
            raise WeightsError(
                f'{folder / name} is missing or damaged: copy or install it again, or export the '
                'model again'
            )
    return manifest

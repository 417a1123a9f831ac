"""Exported models: folders with the two inference modules of a model and a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
    """What an exported folder holds.

    Attributes:
        model: its name in the zoo.
        format: one of `FORMATS`.
        score_map: of the model.
        precision: of its weights: 'f32' or 'int8'.
        version: of the package that wrote it.
    """

    model: str
    format: str
    score_map: ScoreMap
    precision: str = 'f32'
    version: str = __version__


class ExportedModules(NamedTuple):
    """The two stages of a model (see `networks.stages`) in a format, for one crop of a target."""

    template: Any
    search: Any
    score_map: ScoreMap


@contextmanager
def writing(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """Yield a folder to write modules to; on success it is renamed to `folder`, with the manifest.

    Raises `DataError` where that exists or cannot be written.
    """
    with atomic_write_folder(folder) as partial:
        yield partial
        (partial / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2), encoding='utf-8')


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an exported folder; raises `WeightsError`."""
    try:
        values: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding='utf-8'))
        area = values.pop('score_map')
        anchors = tuple((w, h) for w, h in area['anchors'])
        manifest = Manifest(score_map=ScoreMap(area['side'], anchors, area['sized']), **values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f'{folder} is not an exported model: its {MANIFEST} cannot be read ({error!r}); '
            'give a folder that `siamffn export` wrote'
        ) from None
    if manifest.format not in FORMATS:
        raise WeightsError(
            f'{folder} is of the format {manifest.format!r}, which this version does not know: '
            'export it anew'
        )
    return manifest

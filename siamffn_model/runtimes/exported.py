"""Models in the format of a runtime, each a folder: its two stages, and a card that names them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from siamffn_model import __version__
from siamffn_model.atomic_io import whole_folder
from siamffn_model.errors import WeightsError
from siamffn_model.networks.score_map import ScoreMap

CARD = 'model.json'
FORMATS = ('onnx', 'openvino', 'torchscript')


@dataclass(frozen=True)
class Card:
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


class Graphs(NamedTuple):
    """The two stages of a model (see `networks.stages`) in a format, for one crop of a target."""

    template: Any
    search: Any
    score_map: ScoreMap


@contextmanager
def writing(folder: Path, card: Card) -> Iterator[Path]:
    """Give a folder to write the stages to; it becomes `folder`, with the card, when all went well.

    Raises `DataError` where that exists or cannot be written.
    """
    with whole_folder(folder) as partial:
        yield partial
        (partial / CARD).write_text(json.dumps(asdict(card), indent=2), encoding='utf-8')


def read_card(folder: Path) -> Card:
    """Read the card of an exported folder; raises `WeightsError`."""
    try:
        values: dict[str, Any] = json.loads((folder / CARD).read_text(encoding='utf-8'))
        area = values.pop('score_map')
        anchors = tuple((w, h) for w, h in area['anchors'])
        card = Card(score_map=ScoreMap(area['side'], anchors, area['sized']), **values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f'{folder} is no exported model: its {CARD} cannot be read ({error!r}); give a folder '
            'that `siamffn export` wrote'
        ) from None
    if card.format not in FORMATS:
        raise WeightsError(
            f'{folder} is of the format {card.format!r}, which this version does not know: '
            'export it anew'
        )
    return card

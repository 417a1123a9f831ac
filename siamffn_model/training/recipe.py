"""Training recipes: what they hold, and within which ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from siamffn_model.networks.zoo import MODELS
from siamffn_model.training.losses import LOSSES

SourceName = Literal['got10k', 'coco', 'vid', 'det', 'pack', 'rendered']
SOURCES: tuple[str, ...] = get_args(SourceName)

if TYPE_CHECKING:
    ModelName = str
    LossName = str
else:
    ModelName = Literal[tuple(MODELS)]
    LossName = Literal[tuple(LOSSES)]

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
STRICT = ConfigDict(frozen=True, extra='forbid', strict=True)


class SourceConfig(BaseModel):
    """What a source of pairs gives."""

    model_config = STRICT

    pairs: int = Field(ge=1, description='pairs an epoch')
    range: int = Field(
        default=1, ge=1, description='frames between template and search image, at most'
    )


class Augmentation(BaseModel):
    """What happens to crops: how much of it, or the share of pairs it happens to."""

    model_config = STRICT

    shift: float = Field(
        default=64.0,
        ge=0,
        le=64,
        description='search crop: pixels by which the target is off the middle, at most',
    )
    scale: float = Field(
        default=0.18, ge=0, le=0.5, description="search crop: change of the target's size, at most"
    )
    stretch: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="both crops, and the search crop once more: change of the target's ratio of "
        'width to height, at most',
    )
    colour: Share = Field(
        default=0.0, description='strength of a change of colour that both crops share'
    )
    light: Share = Field(
        default=0.2, description='strength of a change of colour of each crop alone'
    )
    grey: Share = Field(default=0.0, description='share of grey pairs')
    faint: Share = Field(default=0.0, description='share of pairs with little contrast')
    blur: Share = Field(default=0.2, description='share of search crops with motion blur')
    pixels: Share = Field(default=0.0, description='share of pairs shown with few pixels')
    noise: Share = Field(default=0.0, description='share of noisy pairs')
    compression: Share = Field(default=0.0, description='share of pairs compressed as JPEG')


class Schedule(BaseModel):
    """The learning rate, constant within an epoch: it rises geometrically, then so falls."""

    model_config = STRICT

    warmup: int = Field(default=5, ge=0, description='epochs in which it rises')
    start: Rate = Field(default=1e-3, description='at the start of the warm-up')
    peak: Rate = Field(default=5e-3, description='after the warm-up')
    end: Rate = Field(default=5e-5, description='in the last epoch')


class Recipe(BaseModel):
    """How to train a model."""

    model_config = STRICT

    model: ModelName = Field(description='what to train, by its name in the zoo')
    loss: LossName = Field(description='what to minimise')
    data: dict[SourceName, SourceConfig] = Field(min_length=1, description='where pairs come from')
    epochs: int = Field(ge=1, le=1000, description='how often to go through the pairs')
    batch: int = Field(ge=1, le=4096, description='pairs a step, on all processes together')
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description='pairs that pass the network together: fewer need less memory',
    )
    negative: float = Field(
        default=0.2, ge=0, le=0.9, description='share of pairs whose template is of another target'
    )
    hard: Share = Field(
        default=0.0, description='share of negative candidates taken by score, not at random'
    )
    augmentation: Augmentation = Field(default=Augmentation(), description='what happens to crops')
    optimizer: Literal['sgd', 'adamw'] = Field(description='how steps follow from gradients')
    rate: Schedule = Field(description='learning rate')
    unfreeze: int | None = Field(
        default=None,
        ge=0,
        description='epoch from which the backbone learns, at a tenth of the rate',
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description='share kept of the averaged weights a step; 0: no averaging',
    )
    bf16: bool = Field(
        default=True, description='compute in bfloat16, on CUDA and on CPUs that can'
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description='of all that is random')

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return _pairs(self.data) // self.batch

    @property
    def pairs(self) -> int:
        """Pairs an epoch, of all sources, rounded down to whole batches."""
        return self.steps * self.batch

    @field_validator('batch')
    @classmethod
    def _fill_a_batch(cls, batch: int, info: ValidationInfo) -> int:
        pairs = _pairs(info.data['data']) if 'data' in info.data else batch
        if batch > pairs:
            raise PydanticCustomError(
                'conflict',
                'batch is {batch}, but an epoch has {pairs} pairs: take fewer or give more in data',
                {'batch': batch, 'pairs': pairs},
            )
        return batch

    @field_validator('rate')
    @classmethod
    def _end_the_warmup(cls, rate: Schedule, info: ValidationInfo) -> Schedule:
        epochs = info.data.get('epochs', rate.warmup)
        if rate.warmup > epochs:
            raise PydanticCustomError(
                'conflict',
                'rate.warmup is {warmup}, allowed are whole numbers from 0 to epochs, {epochs}',
                {'warmup': rate.warmup, 'epochs': epochs, 'below': ('warmup',)},
            )
        return rate


def _pairs(data: dict[SourceName, SourceConfig]) -> int:
    return sum(source.pairs for source in data.values())

"""The schema of training recipes: their keys, defaults and allowed values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from siamffn_model.networks.zoo import MODELS
from siamffn_model.training.losses import LOSSES

SourceName = Literal['got10k', 'coco', 'vid', 'det', 'pack', 'aerial', 'rendered']
SOURCES: tuple[str, ...] = get_args(SourceName)

if TYPE_CHECKING:
    ModelName = str
    LossName = str
else:
    ModelName = Literal[tuple(MODELS)]
    LossName = Literal[tuple(LOSSES)]

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=100)]
STRICT = ConfigDict(frozen=True, extra='forbid', strict=True)


class SourceConfig(BaseModel):
    """How pairs are drawn from a data set."""

    model_config = STRICT

    pairs: int = Field(ge=1, description='number of pairs per epoch')
    range: int = Field(
        default=1, ge=1, description='maximum distance in frames between template and search image'
    )


class Augmentation(BaseModel):
    """Augmentation of crops: its strengths, and the fractions of pairs that it applies to."""

    model_config = STRICT

    shift: float = Field(
        default=64.0,
        ge=0,
        le=64,
        description='search crop: maximum offset of the target from the centre, in pixels',
    )
    scale: float = Field(
        default=0.18,
        ge=0,
        le=0.5,
        description="search crop: maximum change of the target's log(size)",
    )
    stretch: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description='maximum change of log(width / height) of the target: one change of both crops '
        'and another of the search crop alone',
    )
    colour: Fraction = Field(
        default=0.0, description='strength of the colour jitter that is common to both crops'
    )
    light: Fraction = Field(default=0.2, description='strength of the colour jitter of each crop')
    grey: Fraction = Field(default=0.0, description='fraction of pairs in greyscale')
    faint: Fraction = Field(default=0.0, description='fraction of pairs with reduced contrast')
    blur: Fraction = Field(default=0.2, description='fraction of search crops with motion blur')
    pixels: Fraction = Field(default=0.0, description='fraction of pairs with reduced resolution')
    noise: Fraction = Field(default=0.0, description='fraction of pairs with sensor noise')
    compression: Fraction = Field(
        default=0.0, description='fraction of pairs with JPEG compression'
    )


class TeacherWeights(BaseModel):
    """The weights of the losses by which the model learns from a teacher; 0: no such loss."""

    model_config = STRICT

    features: Weight = Field(default=0.0, description="difference from the teacher's features")
    scores: Weight = Field(default=0.0, description="difference from the teacher's score map")
    boxes: Weight = Field(
        default=0.0, description="difference from the boxes, weighted by the teacher's scores"
    )

    @property
    def needed(self) -> bool:
        """Whether the training needs a teacher."""
        return any(self.model_dump().values())


class Schedule(BaseModel):
    """The learning rate of each epoch: it rises geometrically, then falls geometrically."""

    model_config = STRICT

    warmup: int = Field(default=5, ge=0, description='number of epochs in which the rate rises')
    start: Rate = Field(default=1e-3, description='rate at the start of the warm-up')
    peak: Rate = Field(default=5e-3, description='rate after the warm-up')
    end: Rate = Field(default=5e-5, description='rate in the last epoch')
    backbone: Fraction = Field(
        default=0.1, description="factor of the backbone's rate (0.1 in SiamBAN's code)"
    )


class Recipe(BaseModel):
    """The configuration of a training."""

    model_config = STRICT

    model: ModelName = Field(description='name of the model in the model zoo')
    loss: LossName = Field(description='name of the loss function')
    data: dict[SourceName, SourceConfig] = Field(
        min_length=1, description='data sets that pairs are drawn from'
    )
    data_device: bool = Field(
        default=False,
        validation_alias=AliasPath('data', 'device'),
        description='keep the images on the device and compute the pairs there; only the pack',
    )
    epochs: int = Field(ge=1, le=1000, description='number of epochs')
    batch: int = Field(ge=1, le=4096, description='number of pairs per step, over all processes')
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description='number of pairs per forward pass: fewer need less memory',
    )
    repeat: bool = Field(
        default=False,
        description='use the pairs of the first epoch in all epochs; what the frozen stages and '
        'the teacher compute of them is stored in the folder of the training',
    )
    negative: float = Field(
        default=0.2,
        ge=0,
        le=0.9,
        description='fraction of pairs whose search crop shows another target',
    )
    hard: Fraction = Field(
        default=0.0,
        description='fraction of negative samples that are chosen by score, not at random',
    )
    augmentation: Augmentation = Field(default=Augmentation(), description='augmentation of crops')
    teacher: TeacherWeights = Field(
        default=TeacherWeights(), description='losses by which the model learns from a teacher'
    )
    optimizer: Literal['sgd', 'adamw'] = Field(description='optimizer')
    rate: Schedule = Field(description='learning rate')
    unfreeze: int | None = Field(
        default=None,
        ge=0,
        description='first epoch that trains the backbone, at the rate * rate.backbone',
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description='decay per step of the exponential moving average of weights; 0: no averaging',
    )
    bf16: bool = Field(
        default=True, description='compute in bfloat16, on CUDA and on CPUs that support it'
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description='seed of all random numbers')

    @property
    def steps(self) -> int:
        """The number of steps per epoch."""
        return _count_pairs(self.data) // self.batch

    @property
    def pairs(self) -> int:
        """The number of pairs per epoch, from all sources, rounded down to complete batches."""
        return self.steps * self.batch

    @field_validator('data', mode='before')
    @classmethod
    def _remove_device(cls, data: Any) -> Any:
        """Return the value of the key `data` without `device`, which is not a data set."""
        if isinstance(data, dict):
            return {name: source for name, source in data.items() if name != 'device'}
        return data

    @field_validator('data_device')
    @classmethod
    def _check_device(cls, device: bool, info: ValidationInfo) -> bool:
        others = [name for name in info.data.get('data', ()) if name != 'pack']
        if device and others:
            raise PydanticCustomError(
                'conflict',
                'data.device is true, but {names} cannot be kept on a device, only pack: remove '
                'it, or data.device',
                {'names': ' and '.join(others)},
            )
        return device

    @field_validator('batch')
    @classmethod
    def _check_batch(cls, batch: int, info: ValidationInfo) -> int:
        pairs = _count_pairs(info.data['data']) if 'data' in info.data else batch
        if batch > pairs:
            raise PydanticCustomError(
                'conflict',
                'batch is {batch}, but an epoch has {pairs} pairs: reduce batch or increase pairs',
                {'batch': batch, 'pairs': pairs},
            )
        return batch

    @field_validator('rate')
    @classmethod
    def _check_warmup(cls, rate: Schedule, info: ValidationInfo) -> Schedule:
        epochs = info.data.get('epochs', rate.warmup)
        if rate.warmup > epochs:
            raise PydanticCustomError(
                'conflict',
                'rate.warmup is {warmup}, allowed: integers from 0 to epochs ({epochs})',
                {'warmup': rate.warmup, 'epochs': epochs, 'below': ('warmup',)},
            )
        return rate


def _count_pairs(data: dict[SourceName, SourceConfig]) -> int:
    return sum(source.pairs for source in data.values())

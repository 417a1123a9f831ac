"""The published training sets by name."""

from __future__ import annotations

from siamffn_model.datasets.coco import COCO
from siamffn_model.datasets.got10k import GOT10K
from siamffn_model.datasets.imagenet_vid_det import DET, VID
from siamffn_model.datasets.training_set import TrainingSet

TRAINING_SETS: dict[str, TrainingSet] = {item.name: item for item in (GOT10K, COCO, VID, DET)}

"""Results of an evaluation as a table for people and a summary for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from siamffn_model.evaluation.runner import Result


def mean(results: Mapping[str, Result]) -> Result:
    """Return the plain mean over sequences (not over frames)."""
    return Result(*np.mean(list(results.values()), axis=0).tolist())


def table_head(width: int) -> str:
    """Return the head of a table whose first column is `width` letters wide."""
    return f'{"sequence":<{width}}  success  precision      fps'


def table_row(name: str, result: Result, width: int) -> str:
    """Return one row under `table_head`."""
    return f'{name:<{width}}  {result.success:7.3f}  {result.precision:9.3f}  {result.fps:7.1f}'


def summary(name: str, results: Mapping[str, Result]) -> dict[str, Any]:
    """Return {tracker: {success, precision, fps, per_sequence: {sequence: {the same}}}}."""
    per_sequence = {sequence: _rounded(result) for sequence, result in results.items()}
    return {name: {**_rounded(mean(results)), 'per_sequence': per_sequence}}


def _rounded(result: Result) -> dict[str, float]:
    return {key: round(value, 4) for key, value in result._asdict().items()}

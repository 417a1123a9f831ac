"""ONNX as the format of converted models, which needs no inference engine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from siamffn_model.errors import WeightsError, missing_package
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes.exported import ExportedModules

if TYPE_CHECKING:  # PyTorch is needed to convert a model, not to run it
    from torch import Tensor, nn

    from siamffn_model.networks.siamese import Siamese

OPSET = 18  # the oldest that PyTorch's exporter writes; TensorRT 8.6 and later support it


def save_modules(modules: ExportedModules, folder: Path) -> None:
    """Write template.onnx and search.onnx."""
    for name in ('template', 'search'):
        (folder / f'{name}.onnx').write_bytes(getattr(modules, name))


def read_modules(folder: Path, score_map: ScoreMap) -> ExportedModules:
    """Read the files of `save_modules`; raise `WeightsError` if one is missing."""
    try:
        template, search = (
            (folder / f'{name}.onnx').read_bytes() for name in ('template', 'search')
        )
    except OSError as error:
        raise WeightsError(f'{folder} contains no ONNX model ({error}); export it again') from None
    return ExportedModules(template, search, score_map)


def convert_model(model: Siamese) -> ExportedModules:
    """Convert a model in evaluation mode, with batch norm folded, to ONNX files in memory.

    All shapes are constant. The template module maps `crop` to `template0`, `template1`, ...; the
    search module maps `crop` and these tensors to `candidates`. Each correlation is one grouped
    Conv whose kernel is a template tensor.

    Raises `DependencyError` if a package that PyTorch's exporter needs is not installed.
    """
    for package in ('onnx', 'onnxscript'):
        if not find_spec(package):
            purpose, alternative = 'conversion to ONNX', 'give a folder that `siamffn export` wrote'
            raise missing_package(package, purpose, 'export', alternative)
    from siamffn_model.networks.inference_modules import example_inputs, inference_modules

    template, search = inference_modules(model)
    template_inputs, search_inputs = example_inputs(model)
    levels = [f'template{level}' for level in range(len(search_inputs) - 1)]
    return ExportedModules(
        _convert(template, template_inputs, ['crop'], levels),
        _convert(search, search_inputs, ['crop', *levels], ['candidates']),
        model.score_map,
    )


def _convert(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
) -> bytes:
    import torch

    with _without_exporter_warnings(), torch.no_grad():
        program = torch.onnx.export(
            module,
            inputs,
            input_names=input_names,
            output_names=output_names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


@contextmanager
def _without_exporter_warnings() -> Iterator[None]:
    """Suppress the exporter's warnings about optional packages and future changes."""
    log = logging.getLogger('torch.onnx')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            yield
    finally:
        log.setLevel(level)

"""Export of a model to a folder in one of the inference formats."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import ConfigError, DataError, WeightsError, missing_package
from siamffn_model.export import torchscript
from siamffn_model.export.crop_pairs import sequence_pairs
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.conversion import convert, format_module, read_model
from siamffn_model.runtimes.exported import Manifest, fingerprint, write_exported
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import (
    choose_runtime,
    load_model,
    weight_file,
)

CALIBRATION_FRAMES = 300


def export_model(
    name: str, weights: Path | None, format_name: str, out: Path, calibration: list[Sequence]
) -> Runtime:
    """Write a model to the folder `out`; return a runtime on the CPU for the exported model.

    Args:
        name: name of a model in `networks.zoo.MODELS`.
        weights: a safetensors file; None selects the weights in the package.
        format_name: one of `exported.FORMATS`.
        out: folder to create; must not exist.
        calibration: sequences whose crops calibrate the int8 quantisation; if empty, the model is
            exported in single precision.

    Raises:
        ConfigError: the model is unknown, or the format does not support int8.
        DataError: `out` exists or cannot be written, or no frame is suitable for calibration.
        DependencyError: a package is missing.
        WeightsError: the weight file is missing, damaged or of another model.
    """
    path = weight_file(name, weights)
    if out.exists():
        raise DataError(f'{out} already exists: choose a folder that does not exist yet')
    if path.is_dir():
        raise WeightsError(f'{path} is a folder: give the .safetensors file to export')
    if format_name != 'torchscript':
        choose_runtime('cpu', format_name)
    if calibration:
        _check_int8(format_name)
    model = read_model(name, path)
    if format_name == 'torchscript':
        return _export_torchscript(name, path, model, out)
    modules = convert(model, format_name)
    if calibration:
        os.environ['NNCF_CI'] = 'yes'  # disables the telemetry of nncf
        from siamffn_model.export.quantisation import quantise

        modules = quantise(modules, list(sequence_pairs(calibration, CALIBRATION_FRAMES)))
    precision = 'int8' if calibration else 'f32'
    manifest = Manifest(name, format_name, modules.score_map, precision, weights=fingerprint(path))
    with write_exported(out, manifest) as partial:
        format_module(format_name).save_modules(modules, partial)
    return load_model(name, out, 'cpu', format_name)


def _export_torchscript(name: str, path: Path, model: Siamese, out: Path) -> Runtime:
    modules = torchscript.convert(model)
    manifest = Manifest(name, 'torchscript', modules.score_map, weights=fingerprint(path))
    with write_exported(out, manifest) as partial:
        torchscript.save(modules, partial)
    return torchscript.create_runtime(modules)


def _check_int8(format_name: str) -> None:
    if format_name != 'openvino':
        raise ConfigError(
            f'int8 is for the format openvino only, not for {format_name}: omit --int8'
        )
    if not find_spec('nncf'):
        raise missing_package('nncf', 'int8', 'export')

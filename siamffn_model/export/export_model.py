"""Models written in the format of a runtime."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from siamffn_model.datasets.sequences import Sequence
from siamffn_model.errors import ConfigError, DataError, DependencyError, WeightsError
from siamffn_model.export import torchscript
from siamffn_model.export.crop_pairs import sequence_pairs
from siamffn_model.networks.siamese import Siamese
from siamffn_model.runtimes.exported import Manifest, writing
from siamffn_model.runtimes.runtime import Runtime
from siamffn_model.runtimes.selection import (
    COMPUTED_BY,
    choose,
    convert,
    format_module,
    load_model,
    read_model,
    weight_file,
)

CALIBRATED_ON = 300  # frames


def export_model(
    name: str, weights: Path | None, form: str, out: Path, calibration: list[Sequence]
) -> Runtime:
    """Write a model to the folder `out`; return what computes what was written.

    Args:
        name: one of `networks.zoo.MODELS`.
        weights: a safetensors file; None takes the one that ships.
        form: one of `exported.FORMATS`.
        out: must not be there yet.
        calibration: targets on whose crops to find the ranges of int8; none for single precision.

    Raises:
        DataError: `out` is there or cannot be written; no frame to calibrate on.
        WeightsError: a missing, damaged or foreign weight file.
        ConfigError: an unknown model, or int8 in a format that has none.
        DependencyError: a missing package.
    """
    path = weight_file(name, weights)
    if out.exists():
        raise DataError(f'{out} is there already: choose a folder that is not there yet')
    if path.is_dir():
        raise WeightsError(f'{path} is a folder: give the .safetensors file that is to be exported')
    if form != 'torchscript':
        choose('cpu', COMPUTED_BY[form][0])
    if calibration:
        _check_int8(form)
    model = read_model(name, path)
    if form == 'torchscript':
        return _export_torchscript(name, model, out)
    modules = convert(model, form)
    if calibration:
        os.environ['NNCF_CI'] = 'yes'  # else nncf tells its makers of each run over the network
        from siamffn_model.export.quantisation import quantise

        modules = quantise(modules, list(sequence_pairs(calibration, CALIBRATED_ON)))
    manifest = Manifest(name, form, modules.score_map, 'int8' if calibration else 'f32')
    with writing(out, manifest) as partial:
        format_module(form).save_graphs(modules, partial)
    return load_model(name, out, 'cpu')


def _export_torchscript(name: str, model: Siamese, out: Path) -> Runtime:
    modules = torchscript.convert(model)
    with writing(out, Manifest(name, 'torchscript', modules.score_map)) as partial:
        torchscript.save(modules, partial)
    return torchscript.create_runtime(modules)


def _check_int8(form: str) -> None:
    if form != 'openvino':
        raise ConfigError(f'int8 is for the format openvino only, not for {form}: leave out --int8')
    if not find_spec('nncf'):
        raise DependencyError(
            'nncf is not installed: int8 needs the extra [export], which '
            "`pip install -e '.[export]'` brings in the folder of the sources"
        )

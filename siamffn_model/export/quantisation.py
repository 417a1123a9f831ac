"""Quantisation of OpenVINO models to 8 bits with NNCF."""

from __future__ import annotations

import logging

import nncf

from siamffn_model.imaging.crop import SEARCH_SIZE, View
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.openvino_runtime import OpenVINORuntime

# The layers after the correlation keep single precision: their errors affect the boxes most.
SINGLE_PRECISION = nncf.IgnoredScope(
    patterns=[r'.*model\.fusion.*', r'.*model\.head.*'], validate=False
)


def quantise(modules: ExportedModules, pairs: list[tuple[View, View]]) -> ExportedModules:
    """Return OpenVINO modules whose search module has its backbone and neck in 8 bits.

    The template module is unchanged, because it runs only once for each target.

    Args:
        modules: OpenVINO modules in single precision.
        pairs: views of templates and of search regions that calibrate the quantisation.
    """
    nncf.set_log_level(logging.ERROR)
    runtime = OpenVINORuntime(modules, 'f32')
    inputs = [
        [search.crop(SEARCH_SIZE)[None], *(level.data for level in runtime.template(template))]
        for template, search in pairs
    ]
    search = nncf.quantize(
        modules.search,
        nncf.Dataset(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=SINGLE_PRECISION,
    )
    return modules._replace(search=search)

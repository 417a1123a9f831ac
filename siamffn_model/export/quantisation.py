"""The search of a model in 8 bits, for OpenVINO."""

from __future__ import annotations

import logging

import nncf

from siamffn_model.imaging.crop import SEARCH_SIZE, View
from siamffn_model.runtimes.exported import ExportedModules
from siamffn_model.runtimes.openvino_runtime import OpenVINORuntime

# In single precision: what follows the correlation, whose small differences move boxes most.
KEPT = nncf.IgnoredScope(patterns=[r'.*model\.fusion.*', r'.*model\.head.*'], validate=False)


def quantise(graphs: ExportedModules, pairs: list[tuple[View, View]]) -> ExportedModules:
    """Return OpenVINO's graphs with the search's backbone and neck in 8 bits.

    The template is computed once a target, and stays as it is.

    Args:
        graphs: a model.
        pairs: what the ranges are found on: views of a template and of a search for it.
    """
    nncf.set_log_level(logging.ERROR)
    runtime = OpenVINORuntime(graphs, 'f32')
    inputs = [
        [search.crop(SEARCH_SIZE)[None], *(level.data for level in runtime.template(template))]
        for template, search in pairs
    ]
    search = nncf.quantize(
        graphs.search,
        nncf.Dataset(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=KEPT,
    )
    return graphs._replace(search=search)

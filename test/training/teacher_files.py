"""Two small ONNX files with the interface and the operators of NanoTrackV3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

BACKBONE = """agraph (float[1,3,255,255] image) => (float[1,96,16,16] output) {
    a = Conv<strides=[16,16], pads=[8,8,8,8], dilations=[1,1], group=1, kernel_shape=[17,17]>
        (image, w0, b0)
    b = HardSwish(a)
    c = GlobalAveragePool(b)
    d = Reshape<allowzero=0>(c, row)
    e = Gemm<alpha=1.0, beta=1.0, transB=1>(d, w1, b1)
    f = Relu(e)
    g = HardSigmoid<alpha=0.16666667>(f)
    h = Reshape<allowzero=0>(g, cell)
    i = Mul(h, b)
    output = Add(i, a)
}"""
HEAD = """agraph (float[1,96,8,8] template, float[1,96,16,16] search)
    => (float[1,2,15,15] output1, float[1,4,15,15] output2) {
    starts = Constant<value = int64[1] {2}>()
    ends = Constant<value = int64[1] {6}>()
    axes2 = Constant<value = int64[1] {2}>()
    axes3 = Constant<value = int64[1] {3}>()
    steps = Constant<value = int64[1] {1}>()
    rows = Slice(template, starts, ends, axes2, steps)
    middle = Slice(rows, starts, ends, axes3, steps)
    kernel = Reshape<allowzero=0>(middle, kernels)
    single = Reshape<allowzero=0>(search, whole)
    depthwise = Conv<strides=[1,1], pads=[1,1,1,1], dilations=[1,1], group=96, kernel_shape=[4,4]>
        (single, kernel)
    response = Reshape<allowzero=0>(depthwise, map)
    flat_template = Reshape<allowzero=0>(template, flat)
    flat_search = Reshape<allowzero=0>(search, flat)
    turned = Transpose<perm=[0,2,1]>(flat_template)
    product = MatMul(turned, flat_search)
    pixels = Reshape<allowzero=0>(product, square)
    weights = GlobalAveragePool(pixels)
    gate = Sigmoid(weights)
    gated = Mul(gate, pixels)
    cut = Conv<strides=[1,1], pads=[0,0,0,0], dilations=[1,1], group=64, kernel_shape=[2,2]>
        (gated, w2, b2)
    low = Constant<value = float {0.0}>()
    high = Constant<value = float {6.0}>()
    clipped = Clip(cut, low, high)
    both = Concat<axis=1>(response, clipped)
    output1 = Conv<strides=[1,1], pads=[0,0,0,0], dilations=[1,1], group=1, kernel_shape=[1,1]>
        (both, w3, b3)
    logs = Conv<strides=[1,1], pads=[0,0,0,0], dilations=[1,1], group=1, kernel_shape=[1,1]>
        (both, w4, b4)
    output2 = Exp(logs)
}"""
SHAPES = {
    'backbone': {'row': [1, 96], 'cell': [1, 96, 1, 1]},
    'head': {
        'kernels': [96, 1, 4, 4],
        'whole': [1, 96, 16, 16],
        'map': [1, 96, 15, 15],
        'flat': [1, 96, -1],
        'square': [1, -1, 16, 16],
    },
}
WEIGHTS: dict[str, dict[str, tuple[int, ...]]] = {
    'backbone': {'w0': (96, 3, 17, 17), 'b0': (96,), 'w1': (96, 96), 'b1': (96,)},
    'head': {
        'w2': (64, 1, 2, 2),
        'b2': (64,),
        'w3': (2, 160, 1, 1),
        'b3': (2,),
        'w4': (4, 160, 1, 1),
        'b4': (4,),
    },
}


def write_teacher(folder: Path) -> Path:
    """Write the two files with random weights; return the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, text in (('backbone', BACKBONE), ('head', HEAD)):
        model = onnx.parser.parse_model(f'<ir_version: 7, opset_import: ["" : 14]> {text}')
        values = {key: np.array(shape, np.int64) for key, shape in SHAPES[name].items()}
        for key, shape in WEIGHTS[name].items():
            scale = 0.5 / np.sqrt(np.prod(shape[1:])) / (60 if key == 'w0' else 1)
            values[key] = scale * rng.standard_normal(shape).astype(np.float32)
        if name == 'head':
            values['w4'] *= 0.02
            values['b4'] += np.float32(3)
        for key, value in values.items():
            if value.dtype != np.int64:
                value = value.astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, key))
        onnx.save(model, folder / f'nanotrack_{name}.onnx')
    return folder

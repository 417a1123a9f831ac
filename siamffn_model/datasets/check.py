"""What training sets hold, and what of them is damaged or missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from siamffn_model.datasets.index import open_index
from siamffn_model.datasets.pack import Pack, VideoFrame
from siamffn_model.datasets.sets import SETS
from siamffn_model.errors import ConfigError, SiamFFNError
from siamffn_model.imaging.sources import read_image

SHOWN = 20  # damaged images that are named
CHUNK = 16  # images a thread takes at once: a million single tasks would fill the memory


def check_sets(folders: Mapping[str, Path]) -> bool:
    """Print what the given sets hold and where to get the others; return whether all is well.

    Reads each annotation anew and decodes every image. Raises `ConfigError` for a name that is not
    that of a set, and `DataError` for a folder without the set's layout.
    """
    for name in folders:
        if name not in (*SETS, 'pack'):
            raise ConfigError(f'--data {name}: no such set; there are {", ".join(SETS)} and pack')
    good = True
    for name, images in SETS.items():
        if name not in folders:
            print(f'{name}: not given; it can be had from {images.source} and must hold')
            print(f'  {images.layout}')
            continue
        index = open_index(images, folders[name], fresh=True)
        paths = index.images()
        print(f'{name}: {len(index)} targets, {len(index.boxes)} boxes, {len(paths)} images')
        for reason, (count, places) in index.skipped.items():
            print(f'  left out, {reason}: {count}, such as {places[0]}')
        good &= _read_all(name, paths, read_image) and 'missing image' not in index.skipped
    if 'pack' in folders:
        pack = Pack.read(folders['pack'])
        videos = _videos(pack)
        print(
            f'pack: {len(pack.objects)} objects, {len(pack.backgrounds)} backgrounds, '
            f'{sum(map(len, videos))} frames of {len(videos)} videos'
        )
        good &= _read_all('pack', _images(pack), pack.image)
    return good


def _images(pack: Pack) -> list[str]:
    """Return the names of all files that the pack holds or lists."""
    listed = [name for item in pack.objects for name in (item.image, item.mask)]
    listed += [frame.image for frames in _videos(pack) for frame in frames]
    return list(dict.fromkeys([*pack.files, *listed, *pack.backgrounds]))


def _videos(pack: Pack) -> list[list[VideoFrame]]:
    return [frames for source in pack.videos.values() for frames in source.values()]


def _read_all(name: str, images: Sequence[Path | str], read: Callable[[Any], object]) -> bool:
    """Decode all images on all cores; print the damaged ones; return whether there is none."""

    def problem(image: Path | str) -> str | None:
        try:
            read(image)
        except SiamFFNError as error:
            return str(error)
        return None

    with ThreadPool() as pool:
        results = pool.imap(problem, images, CHUNK)
        read_all = tqdm(results, f'read {name}', len(images), leave=False)
        damaged = [message for message in read_all if message]
    for message in damaged[:SHOWN]:
        print(f'  damaged: {message}')
    print(f'  {len(damaged)} of {len(images)} images damaged')
    return not damaged

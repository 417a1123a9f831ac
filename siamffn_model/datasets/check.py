"""Check training sets: count their content and report damaged and missing images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from siamffn_model.datasets.aerial import AerialPack
from siamffn_model.datasets.index import open_index
from siamffn_model.datasets.pack import Pack, VideoFrame
from siamffn_model.datasets.sets import TRAINING_SETS
from siamffn_model.errors import ConfigError, SiamFFNError
from siamffn_model.imaging.image import read_image

MAX_REPORTED = 20  # damaged images named in the output
CHUNK_SIZE = 16  # images per task: a million tasks of one image would fill the memory


def check_sets(folders: Mapping[str, Path]) -> bool:
    """Print the content of each given set and the source of the others; return whether all is well.

    All annotations are read again and every image is decoded. The result is False if an image is
    missing or damaged.

    Args:
        folders: name of a set, or 'pack' or 'aerial' -> its folder.

    Raises:
        ConfigError: a name is not that of a set.
        DataError: a folder does not have the layout of its set.
    """
    for name in folders:
        if name not in (*TRAINING_SETS, 'pack', 'aerial'):
            raise ConfigError(
                f'--data {name}: no such set; there are {", ".join(TRAINING_SETS)}, pack and aerial'
            )
    all_good = True
    for name, training_set in TRAINING_SETS.items():
        if name not in folders:
            print(f'{name}: not given; get it from {training_set.source}; it must contain')
            print(f'  {training_set.layout}')
            continue
        index = open_index(training_set, folders[name], rebuild=True)
        paths = index.image_paths()
        print(f'{name}: {len(index)} targets, {len(index.boxes)} boxes, {len(paths)} images')
        for reason, (count, places) in index.skipped.items():
            print(f'  skipped, {reason}: {count}, such as {places[0]}')
        all_good &= _read_all(name, paths, read_image) and 'missing image' not in index.skipped
    if 'pack' in folders:
        pack = Pack.read(folders['pack'])
        videos = _videos(pack)
        print(
            f'pack: {len(pack.objects)} objects, {len(pack.backgrounds)} backgrounds, '
            f'{sum(map(len, videos))} frames of {len(videos)} videos'
        )
        all_good &= _read_all('pack', _file_names(pack), pack.image)
    if 'aerial' in folders:
        aerial = AerialPack.read(folders['aerial'])
        images = {name: len(t) for listed in aerial.targets.values() for name, t in listed.items()}
        print(f'aerial: {sum(images.values())} targets in {len(images)} images')
        all_good &= _read_all('aerial', list(images), aerial.image)
    return all_good


def _file_names(pack: Pack) -> list[str]:
    """Return the names of all files in the tar or csv files of the pack, without duplicates."""
    listed = [name for item in pack.objects for name in (item.image, item.mask)]
    listed += [frame.image for frames in _videos(pack) for frame in frames]
    return list(dict.fromkeys([*pack.files, *listed, *pack.backgrounds]))


def _videos(pack: Pack) -> list[list[VideoFrame]]:
    return [frames for source in pack.videos.values() for frames in source.values()]


def _read_all(name: str, images: Sequence[Path | str], read: Callable[[Any], object]) -> bool:
    """Decode all images on all cores and print the damaged ones; return whether all are good."""

    def error_message(image: Path | str) -> str | None:
        try:
            read(image)
        except SiamFFNError as error:
            return str(error)
        return None

    with ThreadPool() as pool:
        results = pool.imap(error_message, images, CHUNK_SIZE)
        progress = tqdm(results, f'read {name}', len(images), leave=False)
        damaged = [message for message in progress if message]
    for message in damaged[:MAX_REPORTED]:
        print(f'  damaged: {message}')
    print(f'  {len(damaged)} of {len(images)} images damaged')
    return not damaged

"""Tiny training sets with the layouts of the published ones and images of 320x240 pixels.

In each set one image is truncated and one annotation has no target. The images are those of
`render_scene` with the seeds given below.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from siamffn_model.datasets.synthetic import Scene, render_scene
from siamffn_model.imaging.geometry import Box

FRAMES = 6  # in each video
STILL = Box(20, 30, 50, 40)  # of the second target where there are two


def write_got10k(folder: Path) -> None:
    """Write GOT-10k: sequences 1 to 4 with these seeds, and 5 without rows: 4 targets, 23 rows.

    In sequence 2 the target is absent in image 4; in sequence 3 image 5 is truncated.
    """
    names = [f'GOT-10k_Train_{number:06d}' for number in range(1, 6)]
    for seed, name in enumerate(names, 1):
        images, boxes = render_scene(FRAMES, seed=seed)
        sequence = folder / 'train' / name
        for number, image in enumerate(images, 1):
            truncated = (seed, number) == (3, 5)
            _write_image(sequence / f'{number:08d}.jpg', image, truncated)
        rows = [','.join(f'{value:.4f}' for value in box) for box in boxes]
        absent, cover = ['0'] * FRAMES, ['8'] * FRAMES
        if seed == 2:
            rows[3], absent[3], cover[3] = '0.0000,0.0000,0.0000,0.0000', '1', '0'
        if seed == 5:
            rows = []
        labels = {
            'groundtruth.txt': rows,
            'absence.label': absent,
            'cover.label': cover,
            'cut_by_image.label': ['0'] * FRAMES,
            'meta_info.ini': ['[METAINFO]', 'resolution: (320, 240)', 'anno_fps: 10Hz'],
        }
        for file, lines in labels.items():
            (sequence / file).write_text(''.join(f'{line}\n' for line in lines))
    (folder / 'train/list.txt').write_text(''.join(f'{name}\n' for name in names))


def write_coco(folder: Path) -> None:
    """Write COCO 2017: images 1 to 4 with these seeds, and 5 without annotations: 5 targets.

    Image 1 has two targets, the second at `STILL`; image 3 is truncated.
    """
    images, annotations = [], []
    for number in range(1, 6):
        scene, name = render_scene(1, seed=number), f'{number:012d}.jpg'
        _write_image(folder / 'train2017' / name, scene.images[0], number == 3)
        images.append({'id': number, 'file_name': name, 'width': 320, 'height': 240, 'license': 1})
        for box in {1: [scene.boxes[0], STILL], 5: []}.get(number, scene.boxes):
            annotations.append(
                {
                    'id': 100 + len(annotations),
                    'image_id': number,
                    'category_id': 1,
                    'bbox': [round(value, 2) for value in box],
                    'area': box.area / 2,
                    'segmentation': [[box.x, box.y, box.x + box.w, box.y, box.cx, box.y + box.h]],
                    'iscrowd': 0,
                }
            )
    content = {
        'info': {'description': 'COCO 2017 Dataset'},
        'licenses': [{'id': 1, 'name': 'none'}],
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'thing', 'supercategory': 'any'}],
    }
    path = folder / 'annotations/instances_train2017.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def write_vid(folder: Path) -> None:
    """Write ImageNet VID: three videos with seeds 1 to 3 in two folders: 4 targets, 23 rows.

    In the first video the target is absent in image 2; the second has two tracks, the other at
    `STILL`; in the third image 4 is truncated.
    """
    for seed in (1, 2, 3):
        images, boxes = render_scene(FRAMES, seed=seed)
        unit = f'ILSVRC2015_VID_train_000{seed // 3}/ILSVRC2015_train_{seed:05d}000'
        for number in range(FRAMES):
            name = f'VID/train/{unit}/{number:06d}'
            truncated = (seed, number) == (3, 4)
            _write_image(folder / 'Data' / f'{name}.JPEG', images[number], truncated)
            objects = [boxes[number], STILL] if seed == 2 else [boxes[number]]
            if (seed, number) == (1, 2):
                objects = []
            _write_xml(folder / 'Annotations' / f'{name}.xml', objects, tracks=True)


def write_det(folder: Path) -> None:
    """Write ImageNet DET: images 1 to 5 with these seeds in folders of two depths: 5 targets.

    Image 1 has two targets, the second at `STILL`; image 3 is truncated, and the annotation of
    image 5 is empty. As in the published set, one folder has images without annotations.
    """
    synsets = {1: 'n01440764', 2: 'n01443537'}
    for seed in range(1, 6):
        scene = render_scene(1, seed=seed)
        name = f'DET/train/ILSVRC2014_train_0000/ILSVRC2014_train_{seed:08d}'
        if synset := synsets.get(seed):
            name = f'DET/train/ILSVRC2013_train/{synset}/{synset}_{seed}'
        _write_image(folder / 'Data' / f'{name}.JPEG', scene.images[0], seed == 3)
        objects = {1: [scene.boxes[0], STILL], 5: []}.get(seed, scene.boxes)
        _write_xml(folder / 'Annotations' / f'{name}.xml', objects, tracks=False)
    extra = 'Data/DET/train/ILSVRC2013_train_extra0/ILSVRC2013_train_00000001.JPEG'
    _write_image(folder / extra, scene.images[0])


def in_whole_pixels(scene: Scene) -> list[Box]:
    """Return the boxes of a scene rounded to integer pixels, as in ImageNet's annotations."""
    return [Box(x, y, r - x, b - y) for x, y, r, b in map(_sides, scene.boxes)]


def _sides(box: Box) -> tuple[int, int, int, int]:
    return round(box.x), round(box.y), round(box.x + box.w), round(box.y + box.h)


def _write_image(path: Path, image: np.ndarray, truncated: bool = False) -> None:
    """Write a JPEG file, or its first 100 bytes if `truncated`."""
    encoded, data = cv2.imencode('.jpg', image)
    assert encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes()[: 100 if truncated else None])


def _write_xml(path: Path, boxes: list[Box], tracks: bool) -> None:
    """Write an annotation of ImageNet; those of VID have `tracks`."""
    lines = [
        '<annotation>',
        f'\t<folder>{path.parent.parent.name}/{path.parent.name}</folder>',
        f'\t<filename>{path.stem}</filename>',
        '\t<source><database>ILSVRC_2015</database></source>',
        '\t<size><width>320</width><height>240</height></size>',
    ]
    for track, (left, top, right, bottom) in enumerate(map(_sides, boxes)):
        lines.append('\t<object>')
        lines += [f'\t\t<trackid>{track}</trackid>'] if tracks else []
        lines.append('\t\t<name>n01674464</name>')
        lines.append(f'\t\t<bndbox><xmax>{right}</xmax><xmin>{left}</xmin>')
        lines.append(f'\t\t<ymax>{bottom}</ymax><ymin>{top}</ymin></bndbox>')
        lines.append('\t</object>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join([*lines, '</annotation>']) + '\n')

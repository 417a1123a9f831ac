"""A small aerial pack: coloured targets on black images."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

COLOURS = {  # track or still target: BGR
    'a': (250, 30, 30),
    'b': (30, 250, 30),
    'c': (30, 30, 250),
    'still': (250, 250, 30),
    'boat': (250, 30, 250),
}
ROWS = [  # image, frame, track, class, box, occluded, source
    ('kit-ais/x_1.jpg', 1, 'a', 'car', (40, 50, 20, 12), '', 'kit-ais'),
    ('kit-ais/x_1.jpg', 1, 'b', 'car', (80, 50, 20, 12), '', 'kit-ais'),
    ('kit-ais/x_1.jpg', 1, 'c', 'moving_unverified', (10, 10, 14, 14), '', 'kit-ais'),
    ('kit-ais/x_3.jpg', 3, 'a', 'car', (60, 90, 20, 12), '', 'kit-ais'),
    ('kit-ais/x_3.jpg', 3, 'b', 'car', (20, 20, 20, 12), '1', 'kit-ais'),
    ('kit-ais/x_9.jpg', 9, 'a', 'car', (110, 90, 20, 12), '', 'kit-ais'),
    ('minsk-aerial/y.jpg', '', '', 'still', (30, 40, 24, 16), '', 'minsk-aerial'),
    ('minsk-aerial/y.jpg', '', '', 'boat', (90, 90, 24, 16), '', 'minsk-aerial'),
]


def write_aerial(folder: Path) -> Path:
    """Write the pack to a new folder; return it."""
    folder.mkdir()
    images: dict[str, np.ndarray] = {}
    lines = ['image,tar,sequence,frame,track,class,x,y,w,h,occluded,source']
    for name, frame, track, kind, (x, y, w, h), occluded, source in ROWS:
        image = images.setdefault(name, np.zeros((130, 160, 3), np.uint8))
        image[y : y + h, x : x + w] = COLOURS[track or kind]
        values = name, 'aerial.tar', 's', frame, track, kind, x, y, w, h, occluded, source
        lines.append(','.join(map(str, values)))
    (folder / 'boxes.csv').write_text('\n'.join(lines) + '\n')
    with tarfile.open(folder / 'aerial.tar', 'w') as tar:
        for name, image in images.items():
            data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return folder

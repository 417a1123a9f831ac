"""The size of a JPEG or PNG from its header, without decoding it."""

from __future__ import annotations

import re
import struct

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_START = PNG_SIGNATURE + b'\x00\x00\x00\x0dIHDR'
JPEG_START = b'\xff\xd8\xff'
JPEG_MARKER = re.compile(rb'\xff([\x01-\xfe])')
JPEG_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
JPEG_MARKERS_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}  # TEM, RST0 to RST7
JPEG_SCAN = 0xDA  # SOS
JPEG_END = b'\xff\xd9'  # EOI
JPEG_PADDING = 64  # bytes that cameras usually add after EOI, at most


def image_size(data: memoryview) -> tuple[int, int] | None:
    """Return (width, height) from the header of a JPEG or PNG; None if it is neither or truncated.

    Decoders allocate memory for the size in the header, however little data follows, so the size
    is checked before decoding.
    """
    start = bytes(data[: len(PNG_START)])
    try:
        if start == PNG_START:
            return _png_size(data)
        if start.startswith(JPEG_START):
            return _jpeg_size(data)
    except struct.error:  # the data ends within a header
        pass
    return None


def _png_size(data: memoryview) -> tuple[int, int] | None:
    """Return None also if a chunk is longer than the data: OpenCV allocates its length, too."""
    position = len(PNG_SIGNATURE)
    kind = b''
    while kind != b'IEND' and position < len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        position += 4 + 4 + length + 4  # length, type, content, checksum
    if position > len(data):
        return None
    width, height = struct.unpack_from('>II', data, len(PNG_START))
    return width, height


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Visit the markers in the order in which libjpeg does, so that both find the same size.

    Returns None also for truncated data: OpenCV 4 would fill in the missing part of the image.
    """
    position = 2
    while match := JPEG_MARKER.search(data, position):
        position = match.end()
        marker = data[position - 1]
        if marker in JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from('>HH', data, position + 3)
            return (width, height) if _has_jpeg_end(data[position:]) else None
        if marker == JPEG_SCAN:
            return None
        if marker not in JPEG_MARKERS_WITHOUT_LENGTH:
            position += struct.unpack_from('>H', data, position)[0]
    return None


def _has_jpeg_end(data: memoryview) -> bool:
    """Search the last bytes first, so that the data is copied only if there is more padding."""
    return JPEG_END in bytes(data[-JPEG_PADDING:]) or JPEG_END in bytes(data)

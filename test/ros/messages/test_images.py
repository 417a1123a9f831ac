"""siamffn_ros/messages/images.py"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from siamffn_model.errors import ImageError
from siamffn_model.imaging.image_header import image_size
from siamffn_ros.messages.conversions import to_stamp
from siamffn_ros.messages.images import (
    ALIASES,
    BYTES_PER_PIXEL,
    HALF_CHROMA,
    MAX_PIXELS,
    _convert_with_cv_bridge,
    _convert_with_rosbags,
    _to_8_bit,
    check_message,
    to_bgr,
    to_image,
)

HEIGHT, WIDTH = 12, 16


def picture() -> np.ndarray:
    """A smooth BGR picture: mosaics and chroma subsampling lose little of it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([90 + 3 * x, 120 + 2 * y, 60 + 2 * x + 3 * y], -1).astype(np.uint8)


def mosaic(bgr: np.ndarray, order: str) -> np.ndarray:
    """The Bayer image of a picture: `order` names the colours of the first two rows."""
    raw = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(order):
        row, column = divmod(place, 2)
        raw[row::2, column::2] = bgr[row::2, column::2, 'bgr'.index(colour)]
    return raw


def message(encoding: str, pixels: np.ndarray, padding: int = 0, big: bool = False) -> Image:
    """A message as a camera sends it, with `padding` bytes at the end of each row."""
    if pixels.dtype == np.uint16:
        pixels = pixels.astype('>u2' if big else '<u2')
    if pixels.dtype == np.float32:
        pixels = pixels.astype('>f4' if big else '<f4')
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return Image(
        height=height * 2 // 3 if encoding in HALF_CHROMA else height,
        width=width,
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(big),
        data=rows.tobytes(),
    )


def encoded(encoding: str) -> np.ndarray:
    """The picture in an encoding."""
    bgr = picture()
    if encoding.startswith('bayer_'):
        raw = mosaic(bgr, encoding[6:10])
        return raw if encoding.endswith('8') else raw.astype(np.uint16) * 257
    if encoding in ('yuv422', 'uyvy'):
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_UYVY)
    if encoding in ('yuv422_yuy2', 'yuyv'):
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_YUY2)
    if encoding in HALF_CHROMA:
        return half_chroma(bgr, 'vu' if encoding == 'nv21' else 'uv')
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    if encoding == '32FC1':
        return (0.5 + 0.02 * grey).astype(np.float32)  # metres
    name = ALIASES.get(encoding, encoding)
    image = {
        'bgr': bgr,
        'rgb': bgr[..., ::-1],
        'bgra': cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA),
        'rgba': cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA),
        'mono': grey,
    }[name.rstrip('0123456789')]
    return image if name.endswith('8') else image.astype(np.uint16) * 257


def half_chroma(bgr: np.ndarray, order: str) -> np.ndarray:
    """The picture in YUV 4:2:0 (BT.601): a plane of brightness, then one of pairs of chroma."""
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    chroma = dict(zip('uv', planar[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2), strict=True))
    pairs = np.stack([chroma[name] for name in order], -1)
    return np.concatenate([planar[:HEIGHT], pairs.reshape(HEIGHT // 2, WIDTH)])


def fitted(image: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the image after the linear stretch that brings it closest to the expected one."""
    slope, offset = np.polyfit(image.reshape(-1), expected.reshape(-1).astype(float), 1)
    return slope * image + offset


@pytest.mark.parametrize('padding', [0, 6, 7])
@pytest.mark.parametrize('encoding', BYTES_PER_PIXEL)
def test_every_encoding_gives_the_picture(encoding: str, padding: int) -> None:
    """Those of 16 bit up to a linear stretch."""
    image = to_bgr(message(encoding, encoded(encoding), padding))
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    expected = picture()
    grey_scale = ALIASES.get(encoding, encoding).startswith(('mono', '32F'))
    if grey_scale:
        expected = cv2.cvtColor(encoded('mono8'), cv2.COLOR_GRAY2BGR)
    inner = (slice(2, -2), slice(2, -2))  # demosaicing guesses at the border
    deep = '16' in encoding or encoding == '32FC1'
    got = fitted(image[inner], expected[inner]) if deep else image[inner]
    exact = not encoding.startswith(('bayer', 'yuv', 'uyvy', 'yuyv', 'nv'))
    assert np.abs(got - expected[inner].astype(float)).max() <= (1 if exact else 6)


@pytest.mark.parametrize('encoding', [each for each in BYTES_PER_PIXEL if each not in HALF_CHROMA])
def test_cv_bridge_and_rosbags_agree(encoding: str) -> None:
    """Up to the rounding of two versions of OpenCV."""
    for module in ('cv_bridge', 'rosbags.image'):
        pytest.importorskip(module, reason=f'{module} is not installed: nothing to compare')
    image = _to_8_bit(message(encoding, encoded(encoding), padding=7))
    assert cv2.absdiff(_convert_with_cv_bridge(image), _convert_with_rosbags(image)).max() <= 1


# --- 16 bit


THERMAL = (29_000 + 9 * np.arange(100 * 120).reshape(100, 120) // 100).astype(np.uint16)
"""A slope over 1080 of the 65536 values."""


def grey(pixels: np.ndarray, padding: int = 0, big: bool = False) -> np.ndarray:
    """Return a channel of a decoded mono16 image; the three channels must be equal."""
    image = to_bgr(message('mono16', pixels, padding, big))
    assert image.shape == (*pixels.shape, 3) and image.dtype == np.uint8
    assert (image == image[..., :1]).all()
    return image[..., 0]


def test_narrow_range_gets_full_contrast() -> None:
    """The levels form a line: sorted, in steps of at most 1."""
    levels = grey(THERMAL).reshape(-1).astype(int)
    assert (levels[0], levels[-1]) == (0, 255)
    assert set(np.diff(levels)) == {0, 1}
    assert np.abs(fitted(levels, THERMAL) - THERMAL.reshape(-1)).max() < 1080 / 255


@pytest.mark.parametrize('spread', [0, 1, 10, 254])
@pytest.mark.parametrize('base', [0, 500, 65_535 - 254])
def test_noise_is_not_amplified(base: int, spread: int) -> None:
    """Including a flat image: a difference of 1 never becomes more than one level."""
    noise = np.random.default_rng(0).integers(0, spread, (60, 80), endpoint=True)
    levels = grey((base + noise).astype(np.uint16))
    assert levels.min() == 0 and levels.max() <= spread
    assert np.abs(levels - noise.astype(float)).max() <= 1


@pytest.mark.parametrize('outlier', [0, 65_535])
def test_dead_and_hot_pixels_do_not_change_the_others(outlier: int) -> None:
    pixels = THERMAL.copy()
    pixels[50, 60] = outlier
    rest = np.ones(pixels.shape, bool)
    rest[50, 60] = False
    assert np.abs(grey(pixels)[rest].astype(int) - grey(THERMAL)[rest]).max() <= 1
    assert grey(pixels)[50, 60] == (255 if outlier else 0)


@pytest.mark.parametrize('shape', [(512, 640), (480, 641), (1, 70_000), (70_000, 1), (1, 1)])
def test_large_images_are_sampled_evenly(shape: tuple[int, int]) -> None:
    """Bright halves and alternating rows or columns are detected in images of any shape."""
    row, column = np.indices(shape)
    for bright in (row % 2 == 1, column % 2 == 1, row > shape[0] // 2, column > shape[1] // 2):
        pixels = np.where(bright, 31_000, 30_000).astype(np.uint16)
        expected = np.where(bright, 255, 0) if bright.any() else np.zeros(shape)
        np.testing.assert_array_equal(grey(pixels), expected)


@pytest.mark.parametrize('padding', [0, 2, 3])
def test_big_endian_mono_gives_the_same_image(padding: int) -> None:
    np.testing.assert_array_equal(grey(THERMAL, padding, big=True), grey(THERMAL))


BAYER16 = [
    encoding for encoding in BYTES_PER_PIXEL if encoding.startswith('bayer') and '16' in encoding
]


@pytest.mark.parametrize('encoding', BAYER16)
def test_bayer_of_16_bit_matches_8_bit(encoding: str) -> None:
    raw = mosaic(picture(), encoding[6:10])
    narrow = (700 + 5 * raw.astype(int)).astype(np.uint16)
    little = to_bgr(message(encoding, narrow))
    expected = to_bgr(message(encoding.replace('16', '8'), raw))
    assert np.abs(fitted(little, expected) - expected).max() <= 1.5
    np.testing.assert_array_equal(to_bgr(message(encoding, narrow, big=True)), little)


@pytest.mark.parametrize('channels', ['bgr', 'rgb', 'bgra', 'rgba'])
def test_colours_of_16_bit_are_stretched_alike(channels: str) -> None:
    """Whatever the transparency, in either byte order, and also if one colour is constant."""
    bgr = picture().astype(np.uint16)
    bgr[..., 0] = 20
    scaled = 1000 + 200 * bgr
    planes = {name: scaled[..., index] for index, name in enumerate('bgr')}
    planes['a'] = np.full((HEIGHT, WIDTH), 65_535, np.uint16)
    pixels = np.stack([planes[name] for name in channels], -1)
    little = to_bgr(message(f'{channels}16', pixels))
    np.testing.assert_array_equal(to_bgr(message(f'{channels}16', pixels, 6, big=True)), little)
    assert np.abs(fitted(little, bgr) - bgr).max() <= 1
    assert (little[..., 0] == 0).all()


def test_every_colour_of_a_large_image_is_sampled() -> None:
    """The blue plane alone holds the largest values, in a size whose stride would skip planes."""
    pixels = np.full((3, 20_000, 3), 1000, np.uint16)
    pixels[..., 0] = 31_000
    image = to_bgr(message('bgr16', pixels))
    assert (image[..., 0] == 255).all() and (image[..., 1:] == 0).all()


def test_depth_in_metres_equals_depth_in_millimetres() -> None:
    """REP 118; what is not finite or negative has no measurement, which is 0."""
    metres = np.linspace(0.5, 12, 300, dtype=np.float32).reshape(15, 20)
    metres[0, :5] = [np.nan, np.inf, -np.inf, -3, 0]
    millimetres = (1000 * metres[1:]).round().astype(np.uint16)
    expected = np.zeros((15, 20), np.uint16)
    expected[1:] = millimetres
    expected[0, 5:] = (1000 * metres[0, 5:]).round()
    for big in (False, True):
        image = to_bgr(message('32FC1', metres, padding=4, big=big))
        np.testing.assert_array_equal(image, to_bgr(message('16UC1', expected)))
    assert (image[0, :5] == 0).all()
    far = to_bgr(message('32FC1', np.array([[0, 100.0, 70.0, 1.0]], np.float32)))
    assert (far[0, 1] == far[0, 2]).all(), 'at most 65.535 m'


@pytest.mark.parametrize('shape', [(11, 16), (12, 15)])
def test_chroma_of_odd_sizes_is_refused(shape: tuple[int, int]) -> None:
    height, width = shape
    image = Image(height=height, width=width, encoding='nv12', step=width)
    image.data = bytes(height * 3 // 2 * width)
    with pytest.raises(ImageError, match=f'nv12 image of {width}x{height} pixels: both must be'):
        check_message(image)


# --- unusable images


@pytest.mark.parametrize('encoding', ['bgr8', '8UC3'])
def test_bgr8_is_not_copied(encoding: str) -> None:
    image = message(encoding, picture())
    assert np.shares_memory(to_bgr(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        ({'encoding': 'jpeg'}, 'jpeg.*not supported.*bgr8'),
        ({'encoding': ''}, 'not supported'),
        ({'height': 0, 'data': b''}, '16x0 pixels is empty'),
        ({'width': 0}, '0x12 pixels is empty'),
        ({'step': 10}, 'step is 10.*48 bytes'),
        ({'data': b'\x00' * 100}, '100 bytes instead of.*576'),
        ({'height': 10_000, 'width': 5000, 'step': 15_000}, '576 bytes instead of'),
        ({'height': 10_000, 'width': 5001, 'step': 15_003}, '5001x10000 .*at most 50,000,000'),
        ({'height': 2**32 - 1, 'width': 2**32 - 1, 'step': 2**32 - 1}, 'too large.*smaller'),
        ({'header': Header(frame_id='x' * 257)}, "'x{40}'... has 257 .*shorter"),
    ],
)
def test_unusable_images_are_refused(change: dict[str, Any], error: str) -> None:
    image = message('bgr8', picture())
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=error):
        check_message(image)


@pytest.mark.parametrize(
    'encoding', ['bgr8', 'rgb8', 'mono16', 'bayer_rggb16', 'yuyv', 'rgba16', '32FC1', 'nv12']
)
@pytest.mark.parametrize(
    'change',
    [
        {'encoding': 'jpeg'},
        {'step': 1},
        {'data': b'\x00' * 7},
        {'height': 2**32 - 1, 'width': 2**32 - 1, 'step': 2**32 - 1},
    ],
)
def test_an_unchecked_malformed_image_raises_an_image_error(
    encoding: str, change: dict[str, Any]
) -> None:
    image = message(encoding, encoded(encoding))
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=r'cannot convert .* to bgr8'):
        to_bgr(image)


@pytest.mark.parametrize('kind', ['raw', 'jpg', 'png'])
def test_decoding_does_not_validate_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image: Any = message('bgr8', picture())
    if kind != 'raw':
        image = compressed(coded(picture(), kind))
    check_message(image)
    for name in ('check_message', '_check_raw', '_check_compressed', '_check_size'):
        monkeypatch.setattr(f'siamffn_ros.messages.images.{name}', None)
    assert to_bgr(image).shape == (HEIGHT, WIDTH, 3)


# --- compressed


def compressed(
    data: bytes | np.ndarray, format_name: str = 'bgr8; jpeg compressed bgr8'
) -> CompressedImage:
    return CompressedImage(format=format_name, data=bytes(data))


def coded(image: np.ndarray, kind: str, *options: int) -> bytes:
    """The file of an image."""
    return cv2.imencode(f'.{kind}', image, options)[1].tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', checksum)


def png(width: int, height: int) -> bytes:
    """Return a small PNG with a size in its header that need not fit its data."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    content = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(100)))
    return b'\x89PNG\r\n\x1a\n' + content + chunk(b'IEND', b'')


def jpeg(width: int, height: int) -> bytes:
    """Return a small JPEG with a size in its header that need not fit its data."""
    data = bytearray(coded(picture(), 'jpg'))
    struct.pack_into('>HH', data, data.index(b'\xff\xc0') + 5, height, width)
    return bytes(data)


def with_segment(data: bytes, segment: bytes) -> bytes:
    """A JPEG with a segment (marker and content) put first, its length added."""
    return data[:2] + segment[:2] + struct.pack('>H', len(segment)) + segment[2:] + data[2:]


def turned(data: bytes) -> bytes:
    """Return a JPEG with an EXIF orientation of 90 degrees."""
    tiff = b'MM' + struct.pack('>HIHHHIHHI', 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    return with_segment(data, b'\xff\xe1Exif\x00\x00' + tiff)


@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_compressed_data_is_not_copied(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    image = compressed(coded(noise, kind))
    assert len(image.data) > 300_000
    tracemalloc.start()
    try:
        check_message(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000
    given = []

    def decode(data: np.ndarray) -> np.ndarray:
        given.append(data)
        return noise

    monkeypatch.setattr('siamffn_ros.messages.images.decode_image', decode)
    to_bgr(image)
    assert np.shares_memory(given[0], np.frombuffer(image.data, np.uint8))


def test_png_is_lossless() -> None:
    image = to_bgr(compressed(coded(picture(), 'png')))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize('options', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_jpeg_gives_the_picture(options: tuple[int, ...]) -> None:
    data = coded(picture(), 'jpg', cv2.IMWRITE_JPEG_QUALITY, 100, *options)
    assert image_size(memoryview(data)) == (WIDTH, HEIGHT)
    image = to_bgr(compressed(data))
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert cv2.absdiff(image, picture()).max() <= 6


@pytest.mark.parametrize('kind', ['png', 'jpg'])
def test_compressed_grey_gets_three_channels(kind: str) -> None:
    image = to_bgr(compressed(coded(encoded('mono8'), kind)))
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert cv2.absdiff(image, cv2.cvtColor(encoded('mono8'), cv2.COLOR_GRAY2BGR)).max() <= 4


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_png_of_16_bit_is_mapped_as_a_raw_image(channels: int) -> None:
    expected = to_bgr(message('mono16', encoded('mono16')))
    deep = np.repeat(encoded('mono16')[..., None], channels, -1)
    image = to_bgr(compressed(coded(deep, 'png')))
    assert image.dtype == np.uint8
    # The percentiles of three equal channels are interpolated at other places.
    assert cv2.absdiff(image, expected).max() <= 2


def test_exif_orientation_is_ignored() -> None:
    """Boxes refer to the pixels of the camera."""
    plain = coded(picture(), 'jpg')
    data = turned(plain)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (WIDTH, HEIGHT, 3)
    np.testing.assert_array_equal(to_bgr(compressed(data)), to_bgr(compressed(plain)))


def test_size_of_a_jpeg_is_not_that_of_its_thumbnail() -> None:
    data = with_segment(coded(picture(), 'jpg'), b'\xff\xe1' + jpeg(7, 5))
    data = data[:2] + b'\xff\xff' + data[2:] + bytes(9)  # filled before a marker and at the end
    assert image_size(memoryview(data)) == (WIDTH, HEIGHT)
    assert to_bgr(compressed(data)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ('data', 'error'),
    [
        (png(100_000, 100_000), '100000x100000 pixels is too large.*50,000,000'),
        (png(MAX_PIXELS + 1, 1), 'too large'),
        (png(2**32 - 1, 2**32 - 1), 'too large'),
        (png(0, 10), '0x10 pixels is empty'),
        (jpeg(65_535, 65_535), '65535x65535 pixels is too large'),
        (jpeg(0, 10), '0x10 pixels is empty'),
        (jpeg(10, 0), '10x0 pixels is empty'),
        (png(4, 4)[:-12] + struct.pack('>I', 2**31 - 9) + b'tEXt', 'damaged'),
        (png(4, 4)[:20], '20 bytes.*damaged'),
        (png(4, 4)[:8], 'damaged'),
        (coded(picture(), 'png')[:-1], 'damaged'),
        (jpeg(4, 4)[:3], 'damaged'),
        (jpeg(4, 4)[:100], 'damaged'),
        (coded(picture(), 'jpg')[:-2], 'damaged'),
        (with_segment(coded(picture(), 'jpg')[:-2], b'\xff\xe1' + jpeg(4, 4)), 'damaged'),
        (b'\xff\xd8\xff\xd9', 'damaged'),
        (b'\xff\xd8\xff\xda\x00\x02' + jpeg(4, 4)[2:], 'damaged'),
        (coded(picture(), 'bmp'), 'neither JPEG nor PNG: publish jpeg or png'),
        (coded(picture(), 'webp'), 'neither JPEG nor PNG'),
        (b'GARBAGE' * 100, 'neither JPEG nor PNG'),
        (b'', "0 bytes of format 'bgr8; jpeg compressed bgr8' are damaged, or neither"),
    ],
)
def test_headers_are_refused_before_decoding(
    data: bytes, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory is allocated for the size in the header."""
    monkeypatch.setattr('siamffn_ros.messages.images.decode_image', None)
    with pytest.raises(ImageError, match=error):
        check_message(compressed(data))


@pytest.mark.parametrize(
    'data',
    [
        png(100, 100),
        png(MAX_PIXELS, 1),
        coded(picture(), 'png')[:60] + b'!' + coded(picture(), 'png')[61:],
    ],
)
def test_damaged_images_are_refused(data: bytes) -> None:
    """Only the decoder notices this damage."""
    check_message(compressed(data))
    with pytest.raises(ImageError, match=f'^{len(data)} bytes of .* damaged.*publish jpeg or png'):
        to_bgr(compressed(data))


@pytest.mark.parametrize('format_name', ['16UC1; compressedDepth', '32FC1; compressedDepth png'])
def test_depth_images_are_refused(format_name: str) -> None:
    data = bytes(12) + coded(encoded('mono16'), 'png')
    with pytest.raises(ImageError, match='is a depth image: give the topic of a colour image'):
        check_message(compressed(data, format_name))


@pytest.mark.parametrize(
    'data', [b'', b'GARBAGE' * 100, png(100_000, 100_000), png(4, 4)[:20], jpeg(65_535, 65_535)]
)
def test_an_unchecked_damaged_image_raises_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError, match='are damaged, or neither JPEG nor PNG'):
        to_bgr(compressed(data))


def test_long_names_in_compressed_images() -> None:
    image = compressed(b'', 'x' * 10_000)
    with pytest.raises(ImageError, match=r"format 'x{40}' are"):
        check_message(image)
    image = compressed(coded(picture(), 'png'))
    image.header.frame_id = 'x' * 256
    check_message(image)
    image.header.frame_id += 'x'
    with pytest.raises(ImageError, match=r'frame_id.*257'):
        check_message(image)


# --- arbitrary data


def use_or_refuse(message: Image | CompressedImage) -> None:
    """Only `ImageError` may be raised, and the result is an image."""
    try:
        check_message(message)
        image = to_bgr(message)
    except ImageError:
        return
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size


FILES = [
    coded(picture(), 'jpg'),
    coded(picture(), 'jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    turned(coded(encoded('mono8'), 'jpg')),
    coded(picture(), 'png'),
    coded(encoded('mono16'), 'png'),
]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Files with bytes replaced, put in or cut off, mostly in the header."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, 200) | st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300) | damaged_files(), st.text(max_size=60))
def test_any_compressed_image_is_used_or_refused(data: bytes, format_name: str) -> None:
    use_or_refuse(compressed(data, format_name))


@settings(deadline=None, max_examples=300)
@given(
    st.data(), st.sampled_from(list(BYTES_PER_PIXEL)) | st.text(max_size=60), st.integers(0, 255)
)
def test_any_image_is_used_or_refused(data: st.DataObject, encoding: str, big: int) -> None:
    """Sizes of one pixel, and odd ones, included."""
    any_size = st.integers(0, 9) | st.integers(0, 2**32 - 1)
    width, height = data.draw(any_size), data.draw(any_size)
    step = data.draw(st.integers(0, 3).map(lambda padding: 4 * width + padding) | any_size)
    fits = step * height <= 1000 and data.draw(st.booleans())
    size = step * height if fits else data.draw(st.integers(0, 300))
    content = data.draw(st.binary(min_size=size, max_size=size))
    use_or_refuse(
        Image(
            header=Header(frame_id=data.draw(st.text(max_size=300))),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=big,
            step=min(step, 2**32 - 1),
            data=content,
        )
    )


# --- arrays to messages


def test_image_message_round_trip() -> None:
    header = Header(stamp=to_stamp(5), frame_id='eye')
    sent = to_image(picture()[:, ::-1], header)
    assert sent.header == header and sent.encoding == 'bgr8' and sent.step == 3 * WIDTH
    np.testing.assert_array_equal(to_bgr(sent), picture()[:, ::-1])

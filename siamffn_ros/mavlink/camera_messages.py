"""The messages in which a camera describes itself and what it tracks (MAVLink's common.xml)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pymavlink.dialects.v20 import common as mavlink

from siamffn_ros.mavlink.pixels import Corners, Size

Message = Any  # pymavlink's MAVLink_message
NAN = math.nan
STREAM_ID = 1
STREAM_TYPES = {
    'rtsp': mavlink.VIDEO_STREAM_TYPE_RTSP,
    'udp': mavlink.VIDEO_STREAM_TYPE_RTPUDP,
    'tcp': mavlink.VIDEO_STREAM_TYPE_TCP_MPEG,
}
MAX_URI_LENGTH = 160  # bytes
MAX_RESOLUTION = 65535  # pixels
STATUSTEXT_LENGTH = 50  # bytes in a message; a longer text is sent in several
MAX_STATUSTEXT = 200  # bytes


class CameraDescription(NamedTuple):
    """What a camera tells of itself.

    Attributes:
        name: shown by the ground station; at most 32 bytes are.
        video_uri: address of the video for ground stations; empty if there is none.
    """

    name: str
    video_uri: str = ''


def heartbeat() -> Message:
    """Return HEARTBEAT of a camera."""
    return mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_CAMERA,
        mavlink.MAV_AUTOPILOT_INVALID,
        base_mode=0,
        custom_mode=0,
        system_status=mavlink.MAV_STATE_ACTIVE,
        mavlink_version=3,
    )


def camera_information(description: CameraDescription, size: Size, milliseconds: int) -> Message:
    """Return CAMERA_INFORMATION; `size` is 0, 0 if it is unknown."""
    # Nothing is captured; but some releases of QGroundControl hide a camera without this flag.
    flags = mavlink.CAMERA_CAP_FLAGS_CAPTURE_VIDEO
    flags |= mavlink.CAMERA_CAP_FLAGS_HAS_TRACKING_POINT
    flags |= mavlink.CAMERA_CAP_FLAGS_HAS_TRACKING_RECTANGLE
    if description.video_uri:
        flags |= mavlink.CAMERA_CAP_FLAGS_HAS_VIDEO_STREAM
    return mavlink.MAVLink_camera_information_message(
        milliseconds,
        vendor_name=_name('SiamFFN'),
        model_name=_name(description.name),
        firmware_version=0,
        focal_length=NAN,
        sensor_size_h=NAN,
        sensor_size_v=NAN,
        **_resolution(size),
        lens_id=0,
        flags=flags,
        cam_definition_version=0,
        cam_definition_uri=b'',
    )


def camera_settings(milliseconds: int) -> Message:
    """Return CAMERA_SETTINGS: video, without zoom and focus."""
    mode = mavlink.CAMERA_MODE_VIDEO
    return mavlink.MAVLink_camera_settings_message(milliseconds, mode, NAN, NAN)


def storage_information(milliseconds: int) -> Message:
    """Return STORAGE_INFORMATION: there is no storage."""
    return mavlink.MAVLink_storage_information_message(
        milliseconds,
        storage_id=1,
        storage_count=0,
        status=mavlink.STORAGE_STATUS_NOT_SUPPORTED,
        total_capacity=0.0,
        used_capacity=0.0,
        available_capacity=0.0,
        read_speed=0.0,
        write_speed=0.0,
    )


def capture_status(milliseconds: int) -> Message:
    """Return CAMERA_CAPTURE_STATUS: nothing is captured."""
    return mavlink.MAVLink_camera_capture_status_message(
        milliseconds,
        image_status=0,
        video_status=0,
        image_interval=0.0,
        recording_time_ms=0,
        available_capacity=0.0,
    )


def video_stream_information(description: CameraDescription, size: Size) -> Message:
    """Return VIDEO_STREAM_INFORMATION of the only stream."""
    uri = description.video_uri
    return mavlink.MAVLink_video_stream_information_message(
        STREAM_ID,
        count=1,
        type=STREAM_TYPES[uri.partition(':')[0]],
        name=description.name.encode()[:31],
        uri=uri.encode()[: MAX_URI_LENGTH - 1],
        **_stream(size),
    )


def video_stream_status(size: Size) -> Message:
    """Return VIDEO_STREAM_STATUS of the only stream."""
    return mavlink.MAVLink_video_stream_status_message(STREAM_ID, **_stream(size))


def _stream(size: Size) -> dict[str, Any]:
    return {
        'flags': mavlink.VIDEO_STREAM_STATUS_FLAGS_RUNNING,
        'framerate': 0.0,  # unknown, and so on
        'bitrate': 0,
        'rotation': 0,
        'hfov': 0,
        **_resolution(size),
    }


def _resolution(size: Size) -> dict[str, int]:
    width, height = size
    return {'resolution_h': min(width, MAX_RESOLUTION), 'resolution_v': min(height, MAX_RESOLUTION)}


def describe(
    description: CameraDescription, message_id: float, size: Size, milliseconds: int
) -> Message | None:
    """Return the message with this id in which the camera describes itself; None if it has none.

    Args:
        size: of the picture in pixels; 0, 0 if it is unknown.
        milliseconds: since any start, below 2^32.
    """
    if message_id == mavlink.MAVLINK_MSG_ID_CAMERA_INFORMATION:
        return camera_information(description, size, milliseconds)
    if message_id == mavlink.MAVLINK_MSG_ID_CAMERA_SETTINGS:
        return camera_settings(milliseconds)
    if message_id == mavlink.MAVLINK_MSG_ID_STORAGE_INFORMATION:
        return storage_information(milliseconds)
    if message_id == mavlink.MAVLINK_MSG_ID_CAMERA_CAPTURE_STATUS:
        return capture_status(milliseconds)
    if message_id == mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION and description.video_uri:
        return video_stream_information(description, size)
    if message_id == mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS and description.video_uri:
        return video_stream_status(size)
    return None


def tracking_status(corners: Corners | None) -> Message:
    """Return CAMERA_TRACKING_IMAGE_STATUS: active with this box, or idle."""
    status = mavlink.MAVLink_camera_tracking_image_status_message
    if corners is None:
        idle = mavlink.CAMERA_TRACKING_STATUS_FLAGS_IDLE
        return status(idle, mavlink.CAMERA_TRACKING_MODE_NONE, 0, *[NAN] * 7)
    left, top, right, bottom = corners
    return status(
        mavlink.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE,
        mavlink.CAMERA_TRACKING_MODE_RECTANGLE,
        mavlink.CAMERA_TRACKING_TARGET_DATA_IN_STATUS,
        point_x=(left + right) / 2,
        point_y=(top + bottom) / 2,
        radius=(right - left) / 2,
        rec_top_x=left,
        rec_top_y=top,
        rec_bottom_x=right,
        rec_bottom_y=bottom,
    )


def status_texts(text: str, warning: bool, number: int) -> list[Message]:
    """Return a text as one STATUSTEXT, or as several with the id `number` if it is long."""
    severity = mavlink.MAV_SEVERITY_WARNING if warning else mavlink.MAV_SEVERITY_INFO
    data = text.encode('ascii', 'replace')[:MAX_STATUSTEXT]
    parts = [data[n : n + STATUSTEXT_LENGTH] for n in range(0, len(data), STATUSTEXT_LENGTH)]
    if len(parts) == 1:
        return [mavlink.MAVLink_statustext_message(severity, parts[0])]
    if len(parts[-1]) == STATUSTEXT_LENGTH:
        parts.append(b'')  # a part that is not full ends the text
    return [
        mavlink.MAVLink_statustext_message(severity, part, id=number, chunk_seq=sequence)
        for sequence, part in enumerate(parts)
    ]


def _name(text: str) -> list[int]:
    return list(text.encode()[:31].ljust(32, b'\0'))

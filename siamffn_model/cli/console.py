"""`siamffn console`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from siamffn_model.cli.options import model_options, require_extra, settings_option


@click.command()
@click.argument('source', metavar='VIDEO|DIR|CAMERA|URL')
@model_options
@click.option(
    '--host',
    default='127.0.0.1',
    show_default=True,
    help="Address to listen on; any but this machine's own needs the token that is printed.",
)
@click.option('--port', default=8080, show_default=True, type=click.IntRange(0, 65535))
@settings_option
def console(
    source: str,
    model: str,
    device: str,
    weights: Path | None,
    runtime: str,
    host: str,
    port: int,
    overrides: dict[str, Any],
) -> None:
    """Track objects in a video or camera, chosen in the browser.

    CAMERA is the number of a camera, such as 0; URL that of a stream, such as rtsp://.... A video
    or folder DIR of images is repeated. Ctrl-C ends the server.
    """
    with require_extra('console', 'siamffn console'):
        from siamffn_model.console.serving import run
    from siamffn_model.console.address import listen
    from siamffn_model.console.video_backend import VideoBackend
    from siamffn_model.imaging.live_source import is_live
    from siamffn_model.imaging.sources import open_frames
    from siamffn_model.tracking import TrackerSettings, load_model

    logging.basicConfig(level=logging.INFO, format='%(message)s')
    frames = source if is_live(source) else open_frames(source)
    listening = listen(host, port)  # before the model is loaded
    backend = VideoBackend(
        frames,
        lambda: load_model(model, weights, device, runtime),
        TrackerSettings(**overrides),
    )
    run(backend, listening)

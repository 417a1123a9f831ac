"""The process of the node `console`: parameters, web server, signals."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import rclpy
from rclpy.node import Node

from siamffn_model.cli.options import require_extra
from siamffn_model.console.address import listen
from siamffn_model.errors import SiamFFNError
from siamffn_ros.console.backend import RosBackend
from siamffn_ros.context import ros_context, ros_errors
from siamffn_ros.descriptors import parameter_descriptor

NICE = 10  # added to the priority: on a machine that is busy, the tracker goes first


def main(args: list[str] | None = None) -> int:
    """Serve the console until SIGINT, SIGTERM or SIGHUP; return the exit status."""
    arguments = sys.argv if args is None else args
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    os.nice(NICE)
    try:
        with require_extra('console', 'the console'):
            from siamffn_model.console.serving import run
        with ros_context(arguments[1:]):
            with ros_errors():
                node = make_node()
            host, port, folder = (
                node.get_parameter(name).value for name in ('host', 'port', 'record_folder')
            )
            try:
                run(RosBackend(node, Path(folder)), listen(host, port))
            finally:
                node.destroy_node()
            return 0
    except SiamFFNError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def make_node() -> Node:
    """Return the node with its parameters; raises exceptions of rclpy for values of other types."""
    node = rclpy.create_node('console')
    for name, default, description, limits in (
        (
            'host',
            '127.0.0.1',
            "Address to listen on; any but this machine's own needs a token.",
            None,
        ),
        ('port', 8080, 'Port to listen on; 0 for any that is free.', (0, 65535)),
        ('record_folder', 'recordings', 'Folder for recordings.', None),
    ):
        descriptor = parameter_descriptor(default, description, limits, read_only=True)
        node.declare_parameter(name, default, descriptor)
    return node


if __name__ == '__main__':
    sys.exit(main())

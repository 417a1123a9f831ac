"""The process of the node `mavlink_camera`: executor, signals."""

from __future__ import annotations

import sys

from siamffn_model.cli.options import require_extra
from siamffn_model.errors import SiamFFNError
from siamffn_ros.context import make_executor, ros_context, ros_errors, spin, watch_signals


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or SIGHUP; return the exit status."""
    arguments = sys.argv if args is None else args
    try:
        with require_extra('mavlink', 'the MAVLink camera'):
            from siamffn_ros.mavlink.node import MavlinkCamera
        stop_requested = watch_signals()
        with ros_context(arguments[1:]):
            with ros_errors():
                node = MavlinkCamera()
            executor = make_executor(threads=1)
            executor.add_node(node)
            spin(executor, node, stop_requested)
            node.close()
            executor.shutdown()
            node.destroy_node()
            return 0
    except SiamFFNError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())

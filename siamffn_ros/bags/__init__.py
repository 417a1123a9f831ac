"""rosbag2 files: read, write, play, record, track and evaluate."""

"""rosbag2 files: reading, writing, playback, recording, tracking and evaluation."""

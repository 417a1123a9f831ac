"""Sources of images with boxes: real sequences on disk and rendered scenes."""

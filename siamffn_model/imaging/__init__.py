"""Images: boxes, crops, drawing, and where images come from and go to."""

"""One-pass evaluation: running a tracker over sequences and scoring what it answered."""

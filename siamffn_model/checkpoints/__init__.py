"""Weight files from elsewhere, under our names."""

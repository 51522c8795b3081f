"""Floor 1: arrays in, arrays out. Knows no AnnData, no files and no users."""

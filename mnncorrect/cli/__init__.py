"""Floor 3: files and people. Reads, calls floor 2, writes; one file a command."""

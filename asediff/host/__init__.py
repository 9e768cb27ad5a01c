"""What asediff asks of the machine that it runs on: files, folders, locks, processes."""

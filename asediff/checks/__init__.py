"""What names, numbers and systems can be: one table of ranges, one place of refusals."""

"""What users start: configurations, the command line, the chain behind `asediff fit`, its report."""

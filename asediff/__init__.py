"""asediff: learn pair potentials by differentiating through molecular dynamics."""

"""Making of the shipped artefacts from data the product generates itself, one command each."""

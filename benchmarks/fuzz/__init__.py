"""What the codecs and the loading of artefacts make of damaged input."""

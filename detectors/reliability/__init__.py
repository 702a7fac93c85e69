"""Node reliability: a warning before an incident where there is one, an alarm during it, and the reason.

``detector`` scores with XGBoost, which it imports when an artefact is loaded; ``training`` imports it at once.
Import names from the modules themselves: this package imports nothing, so that scoring never pays for training.
"""

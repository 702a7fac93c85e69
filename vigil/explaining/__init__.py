"""Why an anomaly was said: found on Kafka, replayed through a model, as figures for a page, a picture or a program."""

"""Engine: from the newest clip of each camera to its classes and relevance maps."""

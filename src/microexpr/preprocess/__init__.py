"""From raw video to the input of a model."""

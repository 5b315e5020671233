"""From a net and a store of pictures to trained weights."""

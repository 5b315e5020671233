"""From a net and a store of images to trained weights."""

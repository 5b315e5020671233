"""DICOM out: what a model answers as objects that an archive stores beside the images, and files without names."""

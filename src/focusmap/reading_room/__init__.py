"""The reading room: a page on which images are answered, and the same over HTTP. Imported by its commands alone."""

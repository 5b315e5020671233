"""Images and volumes: read from any format, cropped, prepared for a net, and kept in a store.

`read` lets a file's content decide who reads it, within a `budget`: `raster` (with `jpeg`), `tiff`, `nifti` or `dicom`
(its `dicom_attributes`, the stored `dicom_pixels`, compressed ones by `dicom_codecs`, as `dicom_display` shows them).
What comes of it is an `image`. `crop`, then `prepare` or, in 3-D, `volumes` make the input of a net of it, and bring
maps back; `store` keeps many that are prepared by several `workers`. `regions` are what an image itself proposes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

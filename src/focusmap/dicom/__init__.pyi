from .doing import dicom as dicom
from .request import DicomAction as DicomAction
from .request import DicomRequest as DicomRequest

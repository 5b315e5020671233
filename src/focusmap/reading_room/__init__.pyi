from .corrections import write_corrections as write_corrections
from .site import serve as serve

from .site import serve as serve

"""The errors under the name by which programs outside import them; they are told in `focusmap.basics.errors`."""

from focusmap.basics.errors import DiskError as DiskError
from focusmap.basics.errors import FocusmapError as FocusmapError
from focusmap.basics.errors import InputError as InputError
from focusmap.basics.errors import MissingFileError as MissingFileError
from focusmap.basics.errors import MissingPartError as MissingPartError
from focusmap.basics.errors import ModelError as ModelError
from focusmap.basics.errors import RefusedError as RefusedError
from focusmap.basics.errors import UnreadableImageError as UnreadableImageError

from .cases import Job as Job
from .cases import Member as Member
from .lesions import check_lesions as check_lesions
from .lesions import lesions_of as lesions_of
from .masks import Drawn as Drawn

from .by_vote import learnt_file as learnt_file
from .by_vote import lesions_to_draw as lesions_to_draw
from .cases import Job as Job
from .cases import Member as Member
from .cases import refuse_autoencoder as refuse_autoencoder
from .lesions import check_lesions as check_lesions
from .lesions import lesions_of as lesions_of
from .masks import Drawn as Drawn

from .plan import TrustPlan as TrustPlan
from .plan import choose_subjects as choose_subjects
from .plan import plan_trust as plan_trust
from .trust import measure_trust as measure_trust

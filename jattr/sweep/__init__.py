"""Sweeps: many searches of known images, every result kept, nothing done twice.

Tables and figures from the store.
"""

from jattr.sweep.run import resume_sweep as resume_sweep
from jattr.sweep.run import run_sweep as run_sweep
from jattr.sweep.spec import Pictures as Pictures
from jattr.sweep.spec import Setting as Setting
from jattr.sweep.spec import Spec as Spec
from jattr.sweep.spec import grid as grid

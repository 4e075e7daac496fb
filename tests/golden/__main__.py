"""Write the pages anew: ``python -m tests.golden``; the commit says why they changed."""

import matplotlib as mpl

from tests.golden.pages import CASES, kept, page

mpl.use("agg")
for case in CASES:
    kept(*case).parent.mkdir(exist_ok=True)
    kept(*case).write_text(page(*case))

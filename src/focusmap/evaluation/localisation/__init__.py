"""Heat maps against reference masks: where the disease is, beside baselines that never saw the image.

A map is scored as it is shown: what speaks against a label counts as none.
"""

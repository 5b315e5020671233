"""What a careful person looks at before training: the table, the images, and what could pass for the disease.

`inspection` makes every check in its order; each is one of the `findings`.

- `table`: counts, gaps, patients in two parts. `association`: labels that go with another column.
- `images`: one look at each (`looks`), at its header (`metadata`) and at what is `burnt_in`.
- `duplicates`: images that stand twice, exactly or `near`.
- `shortcuts`: labels that the origin gives away. `probes`: labels told by what is not the disease.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

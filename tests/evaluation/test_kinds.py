"""Every kind of target has its entry in each table of kinds."""

import pytest

from focusmap.evaluation import measures, subgroups
from focusmap.nets import heads
from focusmap.study import task


@pytest.mark.parametrize(
    "table",
    [task.ACTIVATIONS, heads.HEADS, measures.MEASURES, measures.COMPARED_BY, measures.JUDGED_BY, subgroups.COMPARED],
)
def test_a_table_of_kinds_has_them_all(table) -> None:
    assert set(table) == set(task.TARGET_KINDS)

"""How data sets are called: a wrong name gets the right one."""

from __future__ import annotations

import pytest

from microexpr.datasets import dataset_class
from microexpr.errors import UserError


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CASME2", "'casme2' (CASME II)?"),
        ("casmeII", "'casme2' (CASME II)?"),
        ("CAS(ME)^3", "'casme3' (CAS(ME)^3)?"),
        ("CAS(ME)^2", "'casme2' (CASME II) or 'casme_sq' (CAS(ME)^2)?"),
        ("4dme", "'fourd_me' (4DME)?"),
        ("SAMM long videos", "'samm_lv' (SAMM long videos)?"),
        ("casmee2", "'casme2'? (known: casme2, "),
    ],
)
def test_a_wrong_name_gets_the_right_one(name: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        dataset_class(name)
    assert f"unknown dataset '{name}': did you mean {says}" in str(caught.value)

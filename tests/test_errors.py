"""Errors as users meet them."""

import pytest

from ccli.errors import CcliError, os_errors


def test_an_error_of_the_system_is_one_line_with_what_and_why_and_the_remedy(tmp_path):
    with pytest.raises(CcliError) as caught, os_errors(f"cannot read {tmp_path}/a", "check its name"):
        (tmp_path / "a").read_text()
    assert str(caught.value) == f"cannot read {tmp_path}/a (No such file or directory); check its name"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_without_a_number_the_error_speaks_for_itself_and_others_pass():
    with pytest.raises(CcliError, match=r"^cannot write b \(torn\)$"), os_errors("cannot write b"):
        raise OSError("torn")
    with pytest.raises(ValueError, match="other"), os_errors("cannot write b"):
        raise ValueError("other")

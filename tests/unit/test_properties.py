"""Property tests: the same examples in CI, others and more in a long run."""

import hypothesis
import pytest

from tests.properties import examples, load_profile, profile_name


@pytest.mark.parametrize(
    ("environment", "name", "is_derandomized"),
    [
        ({}, "home", False),
        ({"CI": "true"}, "ci", True),
        ({"HYPOTHESIS_PROFILE": "long"}, "long", False),
        ({"CI": "true", "HYPOTHESIS_PROFILE": "long"}, "long", False),
    ],
)
def test_the_environment_says_how_examples_are_chosen(environment, name, is_derandomized):
    assert profile_name(environment) == name
    assert hypothesis.settings.get_profile(name).derandomize is is_derandomized


@pytest.mark.parametrize(("name", "count"), [("home", 30), ("ci", 30), ("long", 300)])
def test_a_test_with_its_own_number_of_examples_takes_ten_times_as_many_in_a_long_run(name, count):
    hypothesis.settings.load_profile(name)
    try:
        assert examples(30).max_examples == count
    finally:
        load_profile()

"""What Evidently says of the libraries that it stands on, for `pytestmark`."""

import pytest

EVIDENTLY_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Call to deprecated function 'Dependency'"),
    pytest.mark.filterwarnings("ignore:Use of deprecated class 'DependencyKwarg'"),
    pytest.mark.filterwarnings("ignore:.*numpy.core is deprecated:DeprecationWarning"),
]

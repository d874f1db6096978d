"""What only a GPU shows; skipped without one."""

import pytest
import torch


def pytest_collection_modifyitems(items):
    missing = pytest.mark.skip(reason="no GPU")
    for item in items:
        if "tests/gpu/" in item.path.as_posix() and not torch.cuda.is_available():
            item.add_marker(missing)

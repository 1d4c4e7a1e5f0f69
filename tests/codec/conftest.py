"""What the entropy coder's tests share: everything is tried with each of its loops."""

import pytest

from codec import rans_avx2


@pytest.fixture(params=["portable", "avx2"], scope="module")
def each_decoding_loop(request):
    if request.param == "avx2" and not rans_avx2.HAS_AVX2:
        pytest.skip("this processor has no AVX2")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(rans_avx2, "HAS_AVX2", request.param == "avx2")
        yield

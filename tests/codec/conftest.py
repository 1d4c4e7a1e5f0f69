"""What tests of compiled loops share: everything is tried with AVX2 and without."""

import pytest

from codec import avx2


@pytest.fixture(params=["portable", "avx2"], scope="module")
def each_decoding_loop(request):
    if request.param == "avx2" and not avx2.HAS_AVX2:
        pytest.skip("this processor has no AVX2")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(avx2, "HAS_AVX2", request.param == "avx2")
        yield

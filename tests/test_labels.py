from __future__ import annotations

from collections import Counter

from microexpr.clip import Clip
from microexpr.labels import SCHEMES

NAMES = ("negative", "positive", "surprise")


def test_noise_has_the_shares_of_the_benchmark_and_nothing_to_do_with_the_clip() -> None:
    clips = [
        Clip("smic", f"s{p:04d}", f"c{i}", NAMES[i % 3]) for p in range(1000) for i in range(9)
    ]
    noise = SCHEMES["megc3_noise"]
    assert noise.labels == SCHEMES["megc3"].labels
    for name in NAMES:
        found = Counter(noise(clip) for clip in clips if clip.emotion == name)
        for label, count in zip(NAMES, (250, 109, 83), strict=True):
            assert abs(found[label] / 3000 - count / 442) < 0.03  # three standard deviations
    assert [noise(clip) for clip in clips] == [noise(clip) for clip in clips]


def test_noise_leaves_out_what_the_benchmark_leaves_out() -> None:
    other = Clip("samm", "006", "006_1_2", "other")
    assert SCHEMES["megc3"](other) is None
    assert SCHEMES["megc3_noise"](other) is None

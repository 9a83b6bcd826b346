// Median filter, five by five, edges repeated. Each column of five is sorted once for the five
// windows that contain it.
//
// Included once per instruction set; see lanes.h.
#ifndef MICROEXPR_MEDIAN_H
#define MICROEXPR_MEDIAN_H

#include "image.h"

namespace {

INLINE void order(vec& a, vec& b) {
    const vec low = min(a, b);
    b = max(a, b);
    a = low;
}

INLINE void sort5(vec* v) {
    order(v[0], v[1]);
    order(v[3], v[4]);
    order(v[2], v[4]);
    order(v[2], v[3]);
    order(v[1], v[4]);
    order(v[0], v[3]);
    order(v[0], v[2]);
    order(v[1], v[3]);
    order(v[1], v[2]);
}

// Leaves the least of N values first and the largest last.
template <int N>
INLINE void extremes(vec* v) {
#pragma GCC unroll 8
    for (int i = 0; i < N / 2; ++i) order(v[i], v[N - 1 - i]);
#pragma GCC unroll 8
    for (int i = 1; i < (N + 1) / 2; ++i) order(v[0], v[i]);
#pragma GCC unroll 8
    for (int i = N / 2; i < N - 1; ++i) order(v[i], v[N - 1]);
}

// The median of 25 from their five columns, each sorted: rank[r] + c is the r-th least of column c.
// Sorting the rows as well leaves both rows and columns sorted, so that only the three middle
// diagonals can hold the median. Of those 13, least and largest are struck out in turn.
INLINE vec median25(const float* const* rank) {
    vec m[5][5];
#pragma GCC unroll 5
    for (int r = 0; r < 5; ++r) {
#pragma GCC unroll 5
        for (int c = 0; c < 5; ++c) m[r][c] = load(rank[r] + c - 2);
        sort5(m[r]);
    }
    vec v[8] = {m[0][3], m[1][2], m[2][1], m[3][0], m[1][4], m[2][3], m[3][2], m[4][1]};
    order(v[0], v[1]), order(v[0], v[2]), order(v[0], v[3]);  // the least is among the first four
    order(v[4], v[7]), order(v[5], v[7]), order(v[6], v[7]);  // the largest among the last four
    v[7] = m[0][4];
    extremes<7>(v + 1);
    v[7] = m[1][3];
    extremes<6>(v + 2);
    v[7] = m[2][2];
    extremes<5>(v + 3);
    v[7] = m[3][1];
    extremes<4>(v + 4);
    v[7] = m[4][0];
    extremes<3>(v + 5);
    return v[6];
}

void repeat_edges(const Image& image) {
    for (int64_t y = 0; y < image.height; ++y) {
        float *row = image.row(y), *end = row + image.width;
        row[-2] = row[-1] = row[0];
        end[0] = end[1] = end[-1];
    }
}

// `sorted` holds five rows of working memory.
void median_row(const Image& from, const Image& to, int64_t y, float* sorted) {
    const float* rows[5];
    float* rank[5];
    for (int i = 0; i < 5; ++i) {
        rows[i] = from.row(clamp(y + i - 2, 0, from.height - 1));
        rank[i] = sorted + i * from.stride + LANES;
    }
    for (int64_t x = -LANES; x < from.width + 2; x += LANES) {
        vec column[5];
        for (int i = 0; i < 5; ++i) column[i] = load(rows[i] + x);
        sort5(column);
        for (int i = 0; i < 5; ++i) store(rank[i] + x, column[i]);
    }
    for (int64_t x = 0; x < from.width; x += LANES) {
        const float* at[5] = {rank[0] + x, rank[1] + x, rank[2] + x, rank[3] + x, rank[4] + x};
        store(to.row(y) + x, median25(at));
    }
}

// Replaces image by its median; `copy` is an image of the same size, `sorted` five rows a thread.
void median_filter(const Image& image, const Image& copy, float* sorted, int threads) {
    const int64_t rest = image.height * image.stride - LANES;  // from the first pixel to the end
    std::memcpy(copy.row(0), image.row(0), sizeof(float) * rest);
    repeat_edges(copy);
    each_row(image.height, threads, [&](int64_t y, int thread) {
        median_row(copy, image, y, sorted + 5 * image.stride * thread);
    });
}

}  // namespace

#endif

// Images of floats for whole-vector kernels, and the memory they lie in.
//
// Included once per instruction set; see lanes.h.
#ifndef MICROEXPR_IMAGE_H
#define MICROEXPR_IMAGE_H

#include "lanes.h"

#include <omp.h>

namespace {

// Rows of floats with LANES spare ones on either side, so that a kernel may read and write whole
// vectors, and neighbours, without asking where the row ends. There is one spare row above.
struct Image {
    float* data;
    int64_t height, width, stride;
    float* row(int64_t y) const { return data + y * stride; }
};

// The caller's memory, handed out piece by piece, each zeroed and aligned to 64 bytes.
struct Memory {
    float* next;
    float* take(int64_t floats) {
        float* piece = next;
        std::memset(piece, 0, sizeof(float) * floats);
        next += (floats + 15) / 16 * 16;
        return piece;
    }
};

int64_t image_stride(int64_t width) { return (width + LANES - 1) / LANES * LANES + 2 * LANES; }

Image take_image(Memory& memory, int64_t height, int64_t width) {
    const int64_t stride = image_stride(width);
    return {memory.take((height + 1) * stride) + stride + LANES, height, width, stride};
}

int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

template <class Work>
void each_row(int64_t rows, int threads, Work work) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t y = 0; y < rows; ++y) work(y, omp_get_thread_num());
}

}  // namespace

#endif

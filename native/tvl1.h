// TV-L1 optical flow (Zach, Pock and Bischof, 2007), the algorithm and parameters of OpenCV's
// DualTVL1OpticalFlow: a pyramid of five scales; on each, five times, the second frame is warped
// by the flow so far, and the linearised problem is solved by alternating steps in the flow u and
// its dual p until u moves by less than epsilon (root mean square) in one iteration.
//
// What makes it fast: one sweep over the rows does a whole iteration (the dual step of a row
// follows the primal step of the next), and the frame and its two gradients are warped together.
//
// Included once per instruction set; see lanes.h.
#include "kernels.h"
#include "median.h"

namespace {

const float kTau = 0.25f, kLambda = 0.15f, kTheta = 0.3f, kEpsilon = 0.01f;
const int kScales = 5, kWarps = 5, kOuter = 10, kInner = 30;
const double kScaleStep = 0.8;
const int64_t kSmallestSide = 16;  // of a scale that is still used
const int64_t kBand = 16;          // rows; shorter bands are not worth a thread
const float kFlat = 1.1920929e-7f;  // a squared gradient below this says nothing

// ---- pyramid ----

// Where output x reads along one axis: from[x], from[x] + 1 and the weight of the latter.
// Pixel centres are at half numbers; `step` is in input pixels per output pixel.
void linear_taps(int64_t in, int64_t out, double step, int32_t* from, float* weight) {
    for (int64_t x = 0; x < out; ++x) {
        const double at = (x + 0.5) * step - 0.5;
        const int64_t whole = (int64_t)__builtin_floor(at);
        from[x] = (int32_t)clamp(whole, 0, in - 2);
        weight[x] = whole < 0 ? 0.0f : whole > in - 2 ? 1.0f : (float)(at - whole);
    }
}

// to = factor * from, resampled by linear interpolation.
void resize(const Image& from, const Image& to, double step_y, double step_x, float factor,
            Memory memory) {
    int32_t *columns = (int32_t*)memory.take(to.width), *rows = (int32_t*)memory.take(to.height);
    float *across = memory.take(to.width), *down = memory.take(to.height);
    linear_taps(from.width, to.width, step_x, columns, across);
    linear_taps(from.height, to.height, step_y, rows, down);
    for (int64_t y = 0; y < to.height; ++y) {
        const float *upper = from.row(rows[y]), *lower = from.row(rows[y] + 1);
        float* out = to.row(y);
        for (int64_t x = 0; x < to.width; ++x) {
            const int64_t c = columns[x];
            const float top = upper[c] + across[x] * (upper[c + 1] - upper[c]);
            const float bottom = lower[c] + across[x] * (lower[c + 1] - lower[c]);
            out[x] = factor * (top + down[y] * (bottom - top));
        }
    }
}

// ---- warping ----

// A frame with its gradients, four floats a pixel, inside a rim of zeros: OpenCV's remap takes
// what lies outside the frame for zero.
typedef float quad __attribute__((vector_size(16)));
const int64_t kRim = 4;

struct Quads {
    quad* data;
    int64_t stride;
    quad* at(int64_t y, int64_t x) const { return data + (y + kRim) * stride + x + kRim; }
};

Quads with_gradients(const Image& image, Memory& memory) {
    const int64_t h = image.height, w = image.width, stride = w + 2 * kRim;
    const Quads quads = {(quad*)memory.take(4 * (h + 2 * kRim) * stride), stride};
    for (int64_t y = 0; y < h; ++y) {
        const float *here = image.row(y), *above = image.row(y > 0 ? y - 1 : 0);
        const float* below = image.row(y + 1 < h ? y + 1 : h - 1);
        for (int64_t x = 0; x < w; ++x) {
            const float right = here[x + 1 < w ? x + 1 : w - 1], left = here[x > 0 ? x - 1 : 0];
            *quads.at(y, x) = quad{here[x], 0.5f * (right - left), 0.5f * (below[x] - above[x]), 0};
        }
    }
    return quads;
}

// The four weights of cubic convolution (a = -3/4) at fraction t.
INLINE void cubic_weights(vec t, vec* w) {
    const float a = -0.75f;
    const vec s = 1.0f - t;
    w[0] = a * t * s * s;
    w[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
    w[2] = ((a + 2.0f) * s - (a + 3.0f)) * s * s + 1.0f;
    w[3] = a * s * t * t;
}

INLINE vec floor(vec x) {
    const vec r = whole(rounded(x));
    return r > x ? r - 1.0f : r;
}

// Everything one scale works on.
struct Level {
    Image frame;                  // the first frame
    Image u1, u2;                 // the flow, to the right and down
    Image copy;                   // what the median filter reads
    Image slope_x, slope_y;       // of the warped second frame
    Image inverse;                // 1 / squared slope
    Image constant;               // the part of the residual that does not depend on u
    Image p11, p12, p21, p22;     // dual variables of u1 (x, y) and u2 (x, y)
    float* sorted;                // five rows a thread, for the median filter
    float* errors;                // one number a row
};

// Where LANES pixels from (x, y) on read: the top left of their four by four, and the weights.
struct Taps {
    int64_t at[LANES];
    float weights[8][LANES];
};

INLINE void find_taps(const Level& s, int64_t stride, int64_t y, int64_t x, Taps* taps) {
    float numbers[LANES];
    for (int i = 0; i < LANES; ++i) numbers[i] = (float)(x + i);
    // Three pixels out, all taps lie in the rim. The order of the operands sends a flow that is
    // not a number there, too.
    const vec px = min(max(all(-3.0f), load(s.u1.row(y) + x) + load(numbers)),
                       all((float)s.frame.width + 1.0f));
    const vec py = min(max(all(-3.0f), load(s.u2.row(y) + x) + (float)y),
                       all((float)s.frame.height + 1.0f));
    const vec left = floor(px), top = floor(py);
    vec across[4], down[4];
    cubic_weights(px - left, across);
    cubic_weights(py - top, down);
    for (int j = 0; j < 4; ++j) {
        store(taps->weights[j], across[j]);
        store(taps->weights[4 + j], down[j]);
    }
    for (int i = 0; i < LANES; ++i)
        taps->at[i] = ((int64_t)top[i] - 1) * stride + (int64_t)left[i] - 1;
}

INLINE quad sample(const quad* from, int64_t stride, const Taps& taps, int i) {
    quad sum = {};
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        const quad* row = from + j * stride;
        const quad line = taps.weights[0][i] * row[0] + taps.weights[1][i] * row[1] +
                          taps.weights[2][i] * row[2] + taps.weights[3][i] * row[3];
        sum += taps.weights[4 + j][i] * line;
    }
    return sum;
}

// Warps the second frame by the flow and linearises the residual there.
void warp_row(const Level& s, const Quads& second, int64_t y) {
    for (int64_t x = 0; x < s.frame.width; x += LANES) {
        Taps taps;
        float values[3][LANES] = {};
        find_taps(s, second.stride, y, x, &taps);
        const int64_t count = s.frame.width - x < LANES ? s.frame.width - x : LANES;
        for (int64_t i = 0; i < count; ++i) {
            const quad v = sample(second.at(0, 0) + taps.at[i], second.stride, taps, (int)i);
            for (int c = 0; c < 3; ++c) values[c][i] = v[c];
        }
        const vec dx = load(values[1]), dy = load(values[2]);
        store(s.slope_x.row(y) + x, dx);
        store(s.slope_y.row(y) + x, dy);
        store(s.inverse.row(y) + x, 1.0f / max(dx * dx + dy * dy, all(kFlat)));
        store(s.constant.row(y) + x, load(values[0]) - dx * load(s.u1.row(y) + x) -
                                         dy * load(s.u2.row(y) + x) - load(s.frame.row(y) + x));
    }
}

// ---- one iteration ----

// Divergence of the dual variable at (x .., y); zero stands beyond the left and upper edge.
INLINE vec divergence(const Image& px, const Image& py, int64_t y, int64_t x) {
    const float *across = px.row(y) + x, *down = py.row(y) + x;
    return (load(across) - load(across - 1)) + (load(down) - load(down - py.stride));
}

// A step of u along row y; the sum of its squared changes goes to s.errors[y].
void primal_row(const Level& s, int64_t y) {
    const int64_t w = s.frame.width;
    const float reach = kLambda * kTheta;
    float *u1 = s.u1.row(y), *u2 = s.u2.row(y);
    const float *dx = s.slope_x.row(y), *dy = s.slope_y.row(y);
    const float *inverse = s.inverse.row(y), *constant = s.constant.row(y);
    vec error = {};
    for (int64_t x = 0; x < w; x += LANES) {
        const vec old1 = load(u1 + x), old2 = load(u2 + x), ix = load(dx + x), iy = load(dy + x);
        const vec residual = load(constant + x) + ix * old1 + iy * old2;
        const vec step = min(max(-residual * load(inverse + x), all(-reach)), all(reach));
        const vec move1 = step * ix + kTheta * divergence(s.p11, s.p12, y, x);
        const vec move2 = step * iy + kTheta * divergence(s.p21, s.p22, y, x);
        store(u1 + x, old1 + move1);
        store(u2 + x, old2 + move2);
        const vec change = move1 * move1 + move2 * move2;
        error += x + LANES <= w ? change : first_lanes(change, w - x);
    }
    // Beyond the right edge the flow repeats, so that its gradient there is zero.
    store(u1 + w, all(u1[w - 1]));
    store(u2 + w, all(u2[w - 1]));
    s.errors[y] = sum_lanes(error);
}

INLINE void dual_step(const float* u, const float* below, float* px, float* py, int64_t x) {
    const float rate = kTau / kTheta;
    const vec here = load(u + x), dx = load(u + x + 1) - here, dy = load(below + x) - here;
    const vec shrink = 1.0f / (1.0f + rate * sqrt(dx * dx + dy * dy));
    store(px + x, (load(px + x) + rate * dx) * shrink);
    store(py + x, (load(py + x) + rate * dy) * shrink);
}

// A step of p along row y, when u of that row and the next is new.
void dual_row(const Level& s, int64_t y) {
    const int64_t next = y + 1 < s.frame.height ? y + 1 : y;
    for (int64_t x = 0; x < s.frame.width; x += LANES) {
        dual_step(s.u1.row(y), s.u1.row(next), s.p11.row(y), s.p12.row(y), x);
        dual_step(s.u2.row(y), s.u2.row(next), s.p21.row(y), s.p22.row(y), x);
    }
}

// Up to kInner iterations, while u moves by more than `limit`; returns how much it moved in the
// last one. Each thread has a band of rows. The dual step of a band's last row waits for the first
// row of the next band. The result is the same bits for any number of threads: each row's sum is
// its own, and every thread adds them all in order.
float iterate(const Level& s, float limit, int threads) {
    const int64_t h = s.frame.height;
    float result = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const int64_t bands = omp_get_num_threads(), band = omp_get_thread_num();
        const int64_t first = h * band / bands, end = h * (band + 1) / bands;
        double moved = 2.0 * limit;
        for (int i = 0; i < kInner && (float)moved > limit; ++i) {
            for (int64_t y = first; y < end; ++y) {
                primal_row(s, y);
                if (y > first) dual_row(s, y - 1);
            }
#pragma omp barrier
            dual_row(s, end - 1);
            moved = 0;
            for (int64_t y = 0; y < h; ++y) moved += s.errors[y];
#pragma omp barrier
        }
        if (band == 0) result = (float)moved;
    }
    return result;
}

// ---- one scale ----

void solve(const Level& s, const Quads& second, int threads) {
    const double area = (double)s.frame.height * (double)s.frame.width;
    const float limit = (float)((double)kEpsilon * kEpsilon * area);
    for (int warp = 0; warp < kWarps; ++warp) {
        each_row(s.frame.height, threads, [&](int64_t y, int) { warp_row(s, second, y); });
        float moved = 2 * limit;
        for (int outer = 0; outer < kOuter && moved > limit; ++outer) {
            median_filter(s.u1, s.copy, s.sorted, threads);
            median_filter(s.u2, s.copy, s.sorted, threads);
            moved = iterate(s, limit, threads);
        }
    }
}

// ---- the whole ----

Level take_level(Memory& memory, const Image& frame, const Image& u1, const Image& u2,
                 int threads) {
    const int64_t h = frame.height, w = frame.width;
    Image i[9];
    for (Image& image : i) image = take_image(memory, h, w);
    return {frame, u1,   u2,   i[0], i[1], i[2], i[3], i[4],
            i[5],  i[6], i[7], i[8], memory.take(5 * image_stride(w) * threads), memory.take(h)};
}

// In floats: four images on every scale, then what one scale works on.
int64_t tvl1_scratch(int64_t height, int64_t width, int threads) {
    const int64_t image = (height + 1) * image_stride(width) + 16;
    const int64_t quads = 4 * (height + 2 * kRim) * (width + 2 * kRim) + 16;
    const int64_t rows = 5 * image_stride(width) * threads + height + 32;
    return (kScales * 4 + 9) * image + quads + rows;
}

Image from_bytes(const uint8_t* bytes, int64_t height, int64_t width, Memory& memory) {
    const Image image = take_image(memory, height, width);
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) image.row(y)[x] = bytes[y * width + x];
    return image;
}

// The next coarser scale; false where it would be too small to use.
bool shrink(const Image& from, Image* to, Memory& memory) {
    const int64_t h = __builtin_lrint(from.height * kScaleStep);
    const int64_t w = __builtin_lrint(from.width * kScaleStep);
    if (h < kSmallestSide || w < kSmallestSide) return false;
    *to = take_image(memory, h, w);
    resize(from, *to, 1 / kScaleStep, 1 / kScaleStep, 1.0f, memory);
    return true;
}

int useful_threads(int threads, int64_t height) {
    const int64_t bands = height / kBand > 1 ? height / kBand : 1;
    return (int)(threads < bands ? threads : bands);
}

// Two grey frames (h, w) to flow (h, w, 2).
void tvl1(const uint8_t* frame0, const uint8_t* frame1, int64_t height, int64_t width, float* flow,
          float* scratch, int threads) {
    Memory memory = {scratch};
    Image first[kScales], second[kScales], u1[kScales], u2[kScales];
    first[0] = from_bytes(frame0, height, width, memory);
    second[0] = from_bytes(frame1, height, width, memory);
    int scales = 1;
    while (scales < kScales && shrink(first[scales - 1], &first[scales], memory) &&
           shrink(second[scales - 1], &second[scales], memory))
        ++scales;
    for (int s = scales - 1; s >= 0; --s) {
        const int64_t h = first[s].height, w = first[s].width;
        u1[s] = take_image(memory, h, w);
        u2[s] = take_image(memory, h, w);
        Memory here = memory;  // given back when this scale is done
        if (s + 1 < scales) {
            const double step_y = (double)first[s + 1].height / h;
            const double step_x = (double)first[s + 1].width / w;
            resize(u1[s + 1], u1[s], step_y, step_x, (float)(1 / kScaleStep), here);
            resize(u2[s + 1], u2[s], step_y, step_x, (float)(1 / kScaleStep), here);
        }
        const int team = useful_threads(threads, h);
        const Level level = take_level(here, first[s], u1[s], u2[s], team);
        solve(level, with_gradients(second[s], here), team);
    }
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) {
            flow[2 * (y * width + x)] = u1[0].row(y)[x];
            flow[2 * (y * width + x) + 1] = u2[0].row(y)[x];
        }
}

}  // namespace

// The C interface of the library: checks, choice of instruction set, threads, reductions.
//
// Arrays are dense float32 unless said otherwise; shapes stand in kernels.h. The functions return
// a status. Results do not depend on `threads`: gradients of parameters are summed over a number
// of blocks of windows that the shape alone decides, and the blocks are added in order.
#include "kernels.h"

#include <cstdlib>
#include <cstring>
#include <omp.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Status { kOk = 0, kNotPermutation = 1, kNoMemory = 2 };

const float kLog2e = 1.44269504f;

// ---- instruction sets ----

int best_isa() {
#ifdef MICROEXPR_X86_KERNELS
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 2;
    if (avx2) return 1;
#endif
    return 0;
}

int isa_limit = 2;

// `width` is how much there is to fill vectors with: half of one with 16 lanes would idle at eight.
const Kernels& kernels(int64_t width) {
#ifdef MICROEXPR_X86_KERNELS
    static const int best = best_isa();
    const int isa = best < isa_limit ? best : isa_limit;
    if (isa == 2 && width > 8) return kAvx512;
    if (isa >= 1) return kAvx2;
#endif
    (void)width;
    return kPortable;
}

// ---- memory ----

// A block of this thread that only grows: calls follow each other with the same shapes.
class Workspace {
  public:
    ~Workspace() { std::free(memory_); }
    float* reserve(int64_t floats) {
        if (floats > size_) {
            std::free(memory_);
            memory_ = (float*)std::aligned_alloc(64, round_up(4 * floats, 64));
            size_ = memory_ ? floats : 0;
        }
        return memory_;
    }
    static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

  private:
    float* memory_ = nullptr;
    int64_t size_ = 0;
};

thread_local Workspace workspace;

// One reservation cut into 64-byte aligned pieces.
struct Cutter {
    int64_t total = 0;
    int64_t add(int64_t floats) {
        const int64_t at = total;
        total += Workspace::round_up(floats, 16);
        return at;
    }
};

// to (k, rows, padded) from (k or 1, channels, rows): parameters as whole vectors of channels.
void repack(const float* from, bool shared, int64_t orders, int64_t channels, int64_t rows,
            int64_t padded, float factor, float* to) {
    std::memset(to, 0, sizeof(float) * orders * rows * padded);
    for (int64_t k = 0; k < orders; ++k)
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t r = 0; r < rows; ++r)
                to[(k * rows + r) * padded + c] =
                    factor * from[((shared ? 0 : k) * channels + c) * rows + r];
}

// The orders as 32-bit numbers, or false where one of them is no permutation of 0 .. length - 1.
bool narrow_orders(const int64_t* from, int64_t orders, int64_t length, int32_t* to) {
    for (int64_t k = 0; k < orders; ++k, from += length, to += length) {
        std::memset(to, 0, sizeof(int32_t) * length);
        for (int64_t s = 0; s < length; ++s) {
            if (from[s] < 0 || from[s] >= length || to[from[s]]) return false;
            to[from[s]] = 1;
        }
        for (int64_t s = 0; s < length; ++s) to[s] = (int32_t)from[s];
    }
    return true;
}

int64_t partial_blocks(int64_t windows) { return windows < 32 ? windows : 32; }

// to[k][c][r] = the sum over blocks of rows [first_row, first_row + rows) of partial[k].
void reduce(const float* partial, int64_t blocks, int64_t orders, int64_t all_rows,
            int64_t first_row, int64_t rows, int64_t channels, int64_t padded, float* to) {
    for (int64_t k = 0; k < orders; ++k)
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < channels; ++c) {
                float sum = 0;
                const float* at = partial + (k * all_rows + first_row + r) * padded + c;
                for (int64_t b = 0; b < blocks; ++b) sum += at[b * orders * all_rows * padded];
                to[(k * channels + c) * rows + r] = sum;
            }
}

// work(i, thread) for all i < count. One thread opens no parallel region: threads of regions inside
// it would be made anew each time.
template <class Work>
void each(int threads, int64_t count, Work work) {
    if (threads == 1)
        for (int64_t i = 0; i < count; ++i) work(i, 0);
    else
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < count; ++i) work(i, omp_get_thread_num());
}

}  // namespace

// Grows with every change of a signature below: microexpr/native.py refuses another number.
EXPORT int microexpr_interface() { return 1; }

// The instruction set in use, at most `limit`: 0 portable, 1 AVX2, 2 AVX-512. Limits are for tests.
EXPORT int microexpr_instruction_set(int limit) {
    isa_limit = limit;
    const int best = best_isa();
    return best < limit ? best : limit;
}

// weight (k or 1, d, 3). With grad null: out. With grad: dx, and dweight (k, d, 3).
EXPORT int microexpr_order_conv(int threads, int64_t windows, int64_t orders, int64_t length,
                                int64_t channels, int shared, int summed, const int64_t* order,
                                const float* x, const float* weight, float* out,
                                const float* grad, float* dx, float* dweight) {
    const Kernels& k = kernels(channels);
    const int64_t padded = Workspace::round_up(channels, k.lanes);
    ConvCall c = {windows, orders, length, channels, padded, summed != 0, nullptr,
                  x,       nullptr, out,   grad,     dx};
    Cutter cut;
    const int64_t order_at = cut.add(orders * length), weight_at = cut.add(orders * 3 * padded);
    const int64_t scratch = Workspace::round_up(k.conv_scratch(c), 16);
    const int64_t scratch_at = cut.add(threads * scratch);
    const int64_t block = orders * 3 * padded, blocks = partial_blocks(windows);
    const int64_t partial_at = cut.add(grad ? blocks * block : 0);
    float* memory = workspace.reserve(cut.total);
    if (!memory) return kNoMemory;
    if (!narrow_orders(order, orders, length, (int32_t*)(memory + order_at)))
        return kNotPermutation;
    repack(weight, shared, orders, channels, 3, padded, 1.0f, memory + weight_at);
    c.order = (const int32_t*)(memory + order_at);
    c.weight = memory + weight_at;
    if (!grad) {
        each(threads, windows, [&](int64_t w, int thread) {
            k.conv(c, w, w + 1, memory + scratch_at + thread * scratch);
        });
        return kOk;
    }
    each(threads, blocks, [&](int64_t b, int thread) {
        k.conv_backward(c, b * windows / blocks, (b + 1) * windows / blocks,
                        memory + scratch_at + thread * scratch,
                        memory + partial_at + b * block);
    });
    reduce(memory + partial_at, blocks, orders, 3, 0, 3, channels, padded, dweight);
    return kOk;
}

// A (k or 1, d, n), D and bias (k or 1, d). With grad null: y. With grad: du, ddt, dB, dC like
// their arguments, dA (k, d, n), dD and dbias (k, d).
EXPORT int microexpr_window_scan(int threads, int64_t windows, int64_t orders, int64_t length,
                                 int64_t channels, int64_t states, int shared_A, int shared_D,
                                 int shared_bias, const int64_t* order, const float* u,
                                 const float* dt, const float* A, const float* B, const float* C,
                                 const float* D, const float* bias, float* y, const float* grad,
                                 float* du, float* ddt, float* dA, float* dB, float* dC, float* dD,
                                 float* dbias) {
    const Kernels& k = kernels(channels);
    const int64_t padded = Workspace::round_up(channels, k.lanes);
    ScanCall c = {windows, orders, length, channels, states, padded, nullptr, u,  dt, nullptr, B,
                  C,       nullptr, nullptr, y,      grad,   du,     ddt,     dB, dC};
    Cutter cut;
    const int64_t order_at = cut.add(orders * length);
    const int64_t decay_at = cut.add(orders * states * padded);
    const int64_t skip_at = cut.add(orders * padded), bias_at = cut.add(orders * padded);
    const int64_t scratch = Workspace::round_up(k.scan_scratch(c), 16);
    const int64_t scratch_at = cut.add(threads * scratch);
    const int64_t rows = states + 2, block = orders * rows * padded;
    const int64_t blocks = partial_blocks(windows);
    const int64_t partial_at = cut.add(grad ? blocks * block : 0);
    float* memory = workspace.reserve(cut.total);
    if (!memory) return kNoMemory;
    if (!narrow_orders(order, orders, length, (int32_t*)(memory + order_at)))
        return kNotPermutation;
    repack(A, shared_A, orders, channels, states, padded, kLog2e, memory + decay_at);
    repack(D, shared_D, orders, channels, 1, padded, 1.0f, memory + skip_at);
    repack(bias, shared_bias, orders, channels, 1, padded, 1.0f, memory + bias_at);
    c.order = (const int32_t*)(memory + order_at);
    c.decay = memory + decay_at;
    c.skip = memory + skip_at;
    c.bias = memory + bias_at;
    if (!grad) {
        each(threads, windows, [&](int64_t w, int thread) {
            k.scan(c, w, w + 1, memory + scratch_at + thread * scratch);
        });
        return kOk;
    }
    each(threads, blocks, [&](int64_t b, int thread) {
        k.scan_backward(c, b * windows / blocks, (b + 1) * windows / blocks,
                        memory + scratch_at + thread * scratch,
                        memory + partial_at + b * block);
    });
    const float* partial = memory + partial_at;
    reduce(partial, blocks, orders, rows, 0, states, channels, padded, dA);
    reduce(partial, blocks, orders, rows, states, 1, channels, padded, dD);
    reduce(partial, blocks, orders, rows, states + 1, 1, channels, padded, dbias);
    return kOk;
}

// Grey frames (pairs, h, w), h and w at least 2; flow (pairs, h, w, 2). Threads work on pairs, or
// within a pair where there are more threads than pairs; there they wait for each other so often
// that more of them than processors would be ruinous.
EXPORT int microexpr_tvl1(int threads, int64_t pairs, int64_t height, int64_t width,
                          const uint8_t* frames0, const uint8_t* frames1, float* flow) {
    const Kernels& k = kernels(width);
    const int64_t size = height * width;
    const int processors = omp_get_num_procs();
    const int across = pairs >= threads ? threads : 1;
    const int within = across > 1 ? 1 : threads < processors ? threads : processors;
    const int64_t scratch = Workspace::round_up(k.tvl1_scratch(height, width, within), 16);
    float* memory = workspace.reserve(across * scratch);
    if (!memory) return kNoMemory;
    each(across, pairs, [&](int64_t pair, int thread) {
        k.tvl1(frames0 + pair * size, frames1 + pair * size, height, width, flow + pair * 2 * size,
               memory + thread * scratch, within);
    });
    return kOk;
}

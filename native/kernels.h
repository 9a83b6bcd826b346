// What the C interface (api.cpp) and the kernels of each instruction set agree on.
#ifndef MICROEXPR_KERNELS_H
#define MICROEXPR_KERNELS_H

#include <cstdint>

// Shapes are the Python side's (w, k, l, d) and n states. Parameter arrays are repacked by api.cpp:
// one row per (order, tap or state), padded with zeros to `padded` channels, so that a kernel
// reads them as whole vectors.
struct ConvCall {
    int64_t windows, orders, length, channels, padded;
    bool summed;
    const int32_t* order;  // (k, l): the token visited at each step
    const float* x;        // (w, l, d)
    const float* weight;   // (k, 3, padded)
    float* out;            // (w, k, l, d), or (w, l, d) when summed
    // Backward only.
    const float* grad;  // like out
    float* dx;          // like x
};

struct ScanCall {
    int64_t windows, orders, length, channels, states, padded;
    const int32_t* order;
    const float *u, *dt;   // (w, k, l, d)
    const float* decay;    // (k, n, padded): A * log2(e), so that exp(dt A) = exp2(dt decay)
    const float *B, *C;    // (w, k, l, n)
    const float *skip;     // (k, padded): D
    const float *bias;     // (k, padded): of dt
    float* y;              // (w, l, d)
    // Backward only.
    const float* grad;           // like y
    float *du, *ddt, *dB, *dC;   // like their arguments
};

// Kernels work on windows [begin, end). `scratch` is theirs alone. `partial` is theirs too, zeroed
// by the kernel, and receives the parameter gradients summed over these windows:
// conv (k, 3, padded); scan (k, n + 2, padded), the states of A first, then D, then the bias of dt.
struct Kernels {
    int lanes;
    int64_t (*conv_scratch)(const ConvCall&);  // in floats
    int64_t (*scan_scratch)(const ScanCall&);
    void (*conv)(const ConvCall&, int64_t begin, int64_t end, float* scratch);
    void (*conv_backward)(const ConvCall&, int64_t begin, int64_t end, float* scratch,
                          float* partial);
    void (*scan)(const ScanCall&, int64_t begin, int64_t end, float* scratch);
    void (*scan_backward)(const ScanCall&, int64_t begin, int64_t end, float* scratch,
                          float* partial);
    // Optical flow of one pair of grey frames (h, w): (h, w, 2).
    int64_t (*tvl1_scratch)(int64_t height, int64_t width, int threads);
    void (*tvl1)(const uint8_t* frame0, const uint8_t* frame1, int64_t height, int64_t width,
                 float* flow, float* scratch, int threads);
};

extern const Kernels kPortable;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MICROEXPR_X86_KERNELS 1
extern const Kernels kAvx2, kAvx512;
#endif

#endif
